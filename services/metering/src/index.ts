export { metering } from "./domain/metering.ts"
export { meteringProcess } from "./process.ts"
export { type MeteringApiOptions, MeteringLedger, type MeteringOptions, MeteringReads, MeteringService } from "./service.ts"
