export * from "./places.ts"
export * from "./settings.ts"
export { firstOwner, makeKeys, PreparationFailed } from "./keys.ts"
