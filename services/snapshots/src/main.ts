import { runService } from "@millrace/service"
import { snapshotsProcess } from "./process.ts"

runService(snapshotsProcess)
