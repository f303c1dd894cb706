export * from "./cluster.ts"
export type { OperatorMode } from "./config.ts"
export * from "./nats-unavailable.ts"
export * from "./server.ts"
