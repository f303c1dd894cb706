export { scheduler } from "./domain/scheduler.ts"
export { schedulerProcess } from "./process.ts"
export { comparable, SchedulerService } from "./service.ts"
