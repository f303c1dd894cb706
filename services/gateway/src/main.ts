import { runService } from "@millrace/service"
import { gatewayProcess } from "./process.ts"

runService(gatewayProcess)
