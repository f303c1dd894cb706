export { startServices } from "./all-in-one.ts"
export { firstJob } from "./first-job.ts"
export { openDoor } from "./open-door.ts"
export { freePort, startStack, type Stack, type StackOptions } from "./stack.ts"
