import { requireNode24 } from "@millrace/bootstrap"
import { Cause, Effect, Exit } from "effect"
import { parseArgs } from "node:util"
import { asLines } from "./figures.ts"

requireNode24()

const benches = {
  jobs: { about: "jobs end to end beside the bare chain of three processes", load: () => import("./jobs/jobs.ts") },
  journal: { about: "append, commit, read and replay beside bare JetStream", load: () => import("./journal/journal.ts") },
  grants: { about: "one decision at a gate, over ten thousand to a million grants", load: () => import("./grants/grants.ts") },
  start: { about: "how long a start takes on a log of a million facts, beside an empty one", load: () => import("./start/start.ts") },
  cell: { about: "how many hosts one cell carries: joined, delivered to, until it breaks", load: () => import("./cell/cell.ts") },
  arbitrage: { about: "what a capacity plan costs beside greedy and the proven optimum", load: () => import("./arbitrage/arbitrage.ts") },
  spot: { about: "jobs with a deadline on spot machines, over a trace of their availability", load: () => import("./spot/spot.ts") },
  packing: { about: "how much of a fleet is given out, beside gradient descent and first fit", load: () => import("./packing/packing.ts") },
  placements: { about: "decisions a second over a thousand to ten thousand hosts, with departures", load: () => import("./placements/placements.ts") },
  burst: { about: "an array of 100,000 tasks and 100,000 jobs placed on 1,000 hosts through the log", load: () => import("./burst/burst.ts") },
  running: { about: "memory of a million running jobs on 10,000 hosts, their checkpoint, and a start from it", load: () => import("./running/running.ts") },
  "scale-up": { about: "from nothing to a thousand GPUs at clouds with limits, beside the soonest that those allow", load: () => import("./scale-up/scale-up.ts") },
  residency: { about: "how soon work starts where models must be loaded, over a trace", load: () => import("./residency/residency.ts") }
} as const

const help = `npm run bench -- NAME [-o json] [--quick]

${Object.entries(benches).map(([name, { about }]) => `  ${name.padEnd(11)}${about}`).join("\n")}

Figures go to stdout, progress to stderr. Every figure stands beside the floor of the same run.
  -o json    one JSON object
  --quick    fewer rounds: to see that it works, not to quote
  --hosts N  cell: how many hosts the first stage has; each later one has twice as many
  arbitrage --offers FILE [--demand FILE] [--stock-seed S] [--stock-max N] [--make-demand SEED] [--classes N] [--providers a,b|all]
  spot --trace FILE
  packing --nodes CSV[.gz] (--arrivals JSONL | --pods CSV[.gz] [--seed S | --seed S-T: the mean of them]) [--placements OUT.jsonl]
  residency --trace CSV[.gz]
`

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    output: { type: "string", short: "o", default: "text" },
    quick: { type: "boolean", default: false },
    hosts: { type: "string" },
    offers: { type: "string" },
    demand: { type: "string" },
    "stock-seed": { type: "string" },
    "stock-max": { type: "string" },
    "make-demand": { type: "string" },
    classes: { type: "string" },
    providers: { type: "string" },
    trace: { type: "string" },
    nodes: { type: "string" },
    arrivals: { type: "string" },
    pods: { type: "string" },
    seed: { type: "string", default: "42" },
    placements: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

/** What every bench is told, and how it says where it is. */
export interface Bench {
  readonly quick: boolean
  /** How many hosts to begin with, where hosts are counted. */
  readonly hosts?: number
  readonly arbitrage: {
    readonly offers: string | undefined
    readonly demand: string | undefined
    readonly providers: ReadonlyArray<string> | "all" | undefined
    readonly stockSeed: number
    readonly stockMax: number
    readonly demandSeed: number
    readonly classes: number
  }
  readonly trace: string | undefined
  readonly packing: {
    readonly nodes: string | undefined
    readonly arrivals: string | undefined
    readonly pods: string | undefined
    /** Where to write what was placed. */
    readonly placements: string | undefined
    readonly seeds: ReadonlyArray<number>
  }
  readonly say: (line: string) => void
}

const whole = (text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? Number.NaN : Math.floor(Number(text))
  return Number.isFinite(value) && value >= 0 ? value : otherwise
}

/** One seed, or all from the first to the last: `42-51`. */
const seedsOf = (text: string): ReadonlyArray<number> => {
  const [first = "", last = first] = text.split("-")
  const from = whole(first, 42)
  return Array.from({ length: Math.max(1, whole(last, from) - from + 1) }, (_, more) => from + more)
}

const [name] = positionals
if (values.help || name === undefined || !(name in benches)) {
  process.stdout.write(help)
  process.exit(values.help ? 0 : 2)
}

const { bench } = await benches[name as keyof typeof benches].load()
const exit = await Effect.runPromiseExit(Effect.scoped(bench({
  quick: values.quick,
  ...(values.hosts === undefined ? {} : { hosts: Math.max(1, Number(values.hosts) || 1) }),
  arbitrage: {
    offers: values.offers,
    demand: values.demand,
    // Everybody in the file, or the named ones; without a word those that the broker is for.
    providers: values.providers === undefined || values.providers === "all" ? values.providers : values.providers.split(","),
    stockSeed: whole(values["stock-seed"], 1),
    stockMax: whole(values["stock-max"], 6),
    demandSeed: whole(values["make-demand"], whole(values["stock-seed"], 1)),
    classes: whole(values.classes, 50)
  },
  trace: values.trace,
  packing: { nodes: values.nodes, arrivals: values.arrivals, pods: values.pods, placements: values.placements, seeds: seedsOf(values.seed) },
  say: (line) => void process.stderr.write(`${line}\n`)
}) as Effect.Effect<unknown, unknown, never>))
if (Exit.isSuccess(exit)) {
  process.stdout.write(`${values.output === "json" ? JSON.stringify(exit.value) : asLines(exit.value)}\n`)
  process.exit(0)
}
process.stderr.write(`${Cause.pretty(exit.cause)}\n`)
process.exit(1)
