import { runService } from "@millrace/service"
import { brokerProcess } from "./process.ts"

runService(brokerProcess)
