import { seedsHold, seedsToTry } from "./seeds-hold.ts"

// Plain and contested cells in two files, because vitest gives each file a worker of its own.
seedsHold({ from: 1, to: seedsToTry(300) })
