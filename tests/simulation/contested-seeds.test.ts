import { seedsHold, seedsToTry } from "./seeds-hold.ts"

seedsHold({ from: 1, to: seedsToTry(120), contested: true })
