import { runService } from "@millrace/service"
import { accessProcess } from "./process.ts"

runService(accessProcess)
