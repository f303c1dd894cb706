import { runService } from "@millrace/service"
import { meteringProcess } from "./process.ts"

runService(meteringProcess)
