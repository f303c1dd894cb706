export { scheduler } from "./domain/scheduler.ts"
export { comparable, SchedulerService } from "./service.ts"
