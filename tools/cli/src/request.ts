import { JobRequest } from "@millrace/gateway/api"
import { JobName } from "@millrace/schemas"
import { Effect, Option, Schema } from "effect"
import { Argument, type Command, Flag } from "effect/cli"
import { moment, optionally, read, several, size, span, switched, text } from "./flags.ts"
import { priorityFlag } from "./priority.ts"
import { placingFlags, placingOf } from "./placing-flags.ts"
import { Trouble } from "./trouble.ts"

/** What describes a job, wherever one is asked for. */
export const jobFlags = {
  name: read("name", (text) => Schema.is(JobName)(text) ? text : undefined, "a name: small letters, digits and dashes, a letter first, 40 at most").pipe(
    Flag.withDescription("what you call it: small letters, digits and dashes, in the open"),
    Flag.optional
  ),
  grant: text("grant", "the grant that it is submitted under (the token's own, or else your roles)"),
  runtime: Flag.Literals("runtime", ["process", "sandbox", "noop"]).pipe(
    Flag.withDescription("how it runs: a plain process, an isolated one, or not at all (process; sandbox for the work of others, and with --file, --from or --snapshot)"),
    Flag.optional
  ),
  trust: Flag.Literals("trust", ["own", "others"]).pipe(
    Flag.withDescription("who vouches for it; the work of others runs only where isolation is enforced (own; others for agents)"),
    Flag.optional
  ),
  cpu: Flag.Finite("cpu").pipe(Flag.filter((cores) => cores >= 0.001, (cores) => `${cores} is too little: a thousandth of a core is the least`), Flag.withMetavar("cores"), Flag.withDescription("cores, such as 0.5 (1)"), Flag.withDefault(1)),
  memory: size("memory").pipe(Flag.filter((mib) => mib > 0, () => "no program runs without memory"), Flag.withDescription("memory, such as 256MiB or 2GiB (256MiB)"), Flag.withDefault(256)),
  disk: size("disk").pipe(Flag.withDescription("disk, such as 10GiB (0)"), Flag.withDefault(0)),
  ...placingFlags,
  priority: priorityFlag("priority", "how urgent it is: low, normal, high, urgent or 0 to 100 (as its workspace's jobs are)"),
  attempts: Flag.Int("attempts").pipe(Flag.filter((attempts) => attempts >= 1, (attempts) => `${attempts} is too few: one attempt is the least`), Flag.withDescription("how often it may be tried (1)"), Flag.withDefault(1)),
  timeLimit: span("time-limit").pipe(Flag.filter((ms) => ms > 0, () => "nothing runs for no time"), Flag.withDescription("how long one attempt may run, such as 90s or 10m (1h)"), Flag.withDefault(3_600_000)),
  queueLimit: span("queue-limit").pipe(Flag.withDescription("how long it may wait for a place (for ever)"), Flag.optional),
  startLimit: span("start-limit").pipe(Flag.withDescription("how long an attempt may take on its host until it runs (as long as the host lets it)"), Flag.optional),
  idleLimit: span("idle-limit").pipe(Flag.withDescription("how long it may do nothing, at least 1s: say no word, use less than a tenth of a core, ask nothing over its socket, hear nothing of its gang (as long as it may run)"), Flag.optional),
  deadline: moment("deadline").pipe(Flag.withDescription("when each task should be over; with --work, and where spot is tolerated, machines are bought so that it is"), Flag.optional),
  work: span("work").pipe(Flag.withDescription("with --deadline: how long a task takes where nothing disturbs it"), Flag.optional),
  onSilence: span("on-silence").pipe(Flag.withDescription("how long it may go on when its host no longer hears from us, at most 10m (5m)"), Flag.optional),
  tasks: Flag.Int("tasks").pipe(Flag.withDescription("an array: so many tasks, each with its number in MILLRACE_TASK"), Flag.optional),
  parallel: Flag.Int("parallel").pipe(Flag.withDescription("of an array: how many tasks may run at once"), Flag.optional),
  failures: Flag.Int("failures").pipe(Flag.withDescription("of an array: with more failed tasks than this the rest is not begun"), Flag.optional),
  gang: Flag.Int("gang").pipe(Flag.withDescription("so many members that run at the same time or not at all, each with its number in MILLRACE_RANK"), Flag.optional),
  near: Flag.Literals("near", ["host", "fabric", "zone", "provider", "anywhere"]).pipe(Flag.withDescription("of a gang: what its members share (fabric)"), Flag.withDefault("fabric" as const)),
  onLoss: Flag.Literals("on-loss", ["restart", "end"]).pipe(Flag.withDescription("of a gang: what follows when a member ends badly (restart)"), Flag.withDefault("restart" as const)),
  network: Flag.Literals("network", ["private", "none"]).pipe(Flag.withDescription("of a gang: whether its members have a network of their own, where they and nobody else find each other (private, in a sandbox)"), Flag.optional),
  after: several("after", "a job that must have succeeded first; JOB:over for one that must only be over", "job"),
  from: text("from", "the snapshot that it starts from, instead of an empty state"),
  snapshot: switched("snapshot", "keep its files as a snapshot when it ends"),
  egress: several("egress", "where it may connect to; without one it has no network where isolation is enforced", "host:port"),
  cwd: read("cwd", (text) => text.startsWith("/") ? text : undefined, "a path from / on").pipe(Flag.withDescription("where it starts (/work)"), Flag.optional),
  env: Flag.KeyValuePair("env").pipe(Flag.withDescription("a variable of its environment; sealed in the log; may be repeated"), Flag.withDefault({})),
  label: Flag.KeyValuePair("label").pipe(Flag.withDescription("a label; sealed in the log; may be repeated"), Flag.withDefault({}))
}
export type JobGiven = Command.Command.Config.Infer<typeof jobFlags>

export const argv = Argument.String("command").pipe(Argument.withDescription("the program and its arguments, behind --"), Argument.variadic({ min: 1 }))

/** A file that lies beside the program. */
export interface Upload {
  readonly path: string
  readonly blob: { readonly digest: string; readonly sizeBytes: number }
  readonly executable: boolean
}

/** What the flags ask for, as it is sent. */
export const bodyOf = (given: JobGiven, argv: ReadonlyArray<string>, files: ReadonlyArray<Upload> = []): Record<string, unknown> => ({
  ...optionally("name", given.name),
  ...optionally("grant", given.grant),
  // A plain process brings no files along, finds none of a snapshot, and leaves none.
  ...optionally("runtime", Option.orElse(given.runtime, () => (files.length > 0 || given.snapshot || Option.isSome(given.from) ? Option.some("sandbox") : Option.none()))),
  ...optionally("trust", given.trust),
  resources: { cpuMilli: Math.round(given.cpu * 1000), memoryMib: given.memory, diskMib: given.disk, ...given.gpus },
  ...placingOf(given),
  ...optionally("priority", given.priority),
  argv,
  env: given.env,
  labels: given.label,
  attemptsMax: given.attempts,
  runMsMax: given.timeLimit,
  ...optionally("queueMsMax", given.queueLimit),
  ...optionally("startMsMax", given.startLimit),
  ...optionally("idleMsMax", given.idleLimit),
  ...Option.match(Option.all([given.deadline, given.work]), { onNone: () => ({}), onSome: ([atMs, workMs]) => ({ deadline: { atMs, workMs } }) }),
  ...Option.match(given.onSilence, { onNone: () => ({}), onSome: (keepMs) => ({ onSilence: { keepMs } }) }),
  ...Option.match(given.tasks, {
    onNone: () => ({}),
    onSome: (tasks) => ({ array: { tasks, ...optionally("parallelismMax", given.parallel), ...optionally("failuresMax", given.failures) } })
  }),
  ...Option.match(given.gang, { onNone: () => ({}), onSome: (members) => ({ gang: { members, topology: given.near, onLoss: given.onLoss, ...optionally("network", given.network) } }) }),
  ...(given.after.length === 0 ? {} : { after: given.after.map(dependencyOf) }),
  ...optionally("startFrom", given.from),
  ...(given.snapshot ? { snapshotAtEnd: "files" } : {}),
  ...(given.egress.length === 0 ? {} : { egress: given.egress }),
  ...optionally("cwd", given.cwd),
  ...(files.length === 0 ? {} : { files })
})

const dependencyOf = (text: string) => {
  const [jobId = "", on = "succeeded"] = text.split(":")
  return { jobId, on }
}

const decode = Schema.decodeUnknownEffect(JobRequest)

/** The same request, judged here by the schema that the API judges by. */
export const requestOf = (given: JobGiven, argv: ReadonlyArray<string>, files: ReadonlyArray<Upload> = []): Effect.Effect<JobRequest, Trouble> =>
  sensible(given).pipe(
    Effect.andThen(decode(bodyOf(given, argv, files))),
    Effect.catchTag("SchemaError", (error) => Effect.fail(malformed(error.message.replaceAll("\n", " "))))
  )

const sensible = (given: JobGiven): Effect.Effect<void, Trouble> => {
  const odd = Object.keys(given.env).find((name) => !/^[A-Za-z_][A-Za-z0-9_]*$/u.test(name))
  if (odd !== undefined) return Effect.fail(malformed(`${JSON.stringify(odd)} is no name of a variable: letters, digits and _, and no digit first`))
  const placing = placingOf(given)
  if ("unreadable" in placing) return Effect.fail(malformed(`--rather ${placing.unreadable} is no wish: write region=NAME, provider=NAME or residency=NAME`))
  if (Option.isSome(given.deadline) !== Option.isSome(given.work)) return Effect.fail(malformed("--deadline and --work are told together: when it should be over, and how long it takes"))
  return arraySensible(given)
}

const arraySensible = (given: JobGiven): Effect.Effect<void, Trouble> =>
  Option.isNone(given.tasks) && (Option.isSome(given.parallel) || Option.isSome(given.failures))
    ? Effect.fail(malformed("--parallel and --failures are about arrays, and this is none: --tasks is missing"))
    : Effect.void

const malformed = (what: string): Trouble =>
  new Trouble({ code: "request_malformed", what, where: "the command line", remedy: "see: millrace submit --help", ending: "usage" })
