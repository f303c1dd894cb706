export * from "./testing/child.ts"
export * from "./testing/collector.ts"
