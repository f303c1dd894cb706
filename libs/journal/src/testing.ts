export { onAccess } from "./testing/appending.ts"
export * from "./testing/journal-promises.ts"
export * from "./testing/sample-facts.ts"
export * from "./testing/settle-decider.ts"
