export * from "./decider.ts"
export * from "./derive.ts"
