export { scheduler } from "./domain/scheduler.ts"
export { comparable, type Pace, schedulerService, SchedulerService } from "./service.ts"
