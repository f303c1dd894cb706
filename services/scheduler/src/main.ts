import { runService } from "@millrace/service"
import { schedulerProcess } from "./process.ts"

runService(schedulerProcess)
