import { asks } from "./asks.ts"
import { attempts } from "./attempts.ts"
import { jobs } from "./jobs.ts"
import { together } from "./part.ts"

/** All that the gateway remembers. Raise the version with every change of a part's tables or of its `apply`. */
export const tables = together({ name: "gateway.jobs", version: 4 }, [jobs, asks, attempts])
