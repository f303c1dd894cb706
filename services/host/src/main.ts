import { runService } from "@millrace/service"
import { hostProcess } from "./process.ts"

runService(hostProcess)
