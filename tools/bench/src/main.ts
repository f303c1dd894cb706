import { requireNode24 } from "@millrace/bootstrap"
import { Cause, Effect, Exit } from "effect"
import { parseArgs } from "node:util"
import { asLines } from "./figures.ts"

requireNode24()

const benches = {
  jobs: { about: "jobs end to end beside the bare chain of three processes", load: () => import("./jobs/jobs.ts") },
  journal: { about: "append, commit, read and replay beside bare JetStream", load: () => import("./journal/journal.ts") },
  grants: { about: "one decision at a gate, over ten thousand to a million grants", load: () => import("./grants/grants.ts") },
  cell: { about: "how many hosts one cell carries: joined, delivered to, until it breaks", load: () => import("./cell/cell.ts") }
} as const

const help = `npm run bench -- NAME [-o json] [--quick]

${Object.entries(benches).map(([name, { about }]) => `  ${name.padEnd(10)}${about}`).join("\n")}

Figures go to stdout, progress to stderr. Every figure stands beside the floor of the same run.
  -o json    one JSON object
  --quick    fewer rounds: to see that it works, not to quote
  --hosts N  cell: how many hosts the first stage has; each later one has twice as many
`

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    output: { type: "string", short: "o", default: "text" },
    quick: { type: "boolean", default: false },
    hosts: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

/** What every bench is told, and how it says where it is. */
export interface Bench {
  readonly quick: boolean
  /** How many hosts to begin with, where hosts are counted. */
  readonly hosts?: number
  readonly say: (line: string) => void
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
  say: (line) => void process.stderr.write(`${line}\n`)
}) as Effect.Effect<unknown, unknown, never>))
if (Exit.isSuccess(exit)) {
  process.stdout.write(`${values.output === "json" ? JSON.stringify(exit.value) : asLines(exit.value)}\n`)
  process.exit(0)
}
process.stderr.write(`${Cause.pretty(exit.cause)}\n`)
process.exit(1)
