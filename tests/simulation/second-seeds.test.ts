import { seedsHold } from "./seeds-hold.ts"

// Half of the seeds in each of two files, because vitest gives each file a worker of its own.
seedsHold({ from: 501, to: 1000 })
