import { seedsHold } from "./testing/seeds-hold.ts"

seedsHold("first")
