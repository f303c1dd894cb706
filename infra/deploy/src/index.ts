export * from "./places.ts"
export * from "./settings.ts"
