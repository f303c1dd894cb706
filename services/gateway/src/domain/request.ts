import { namedId } from "@millrace/decider"
import { Bytes, Count, type Dialect, Digest, GrantId, JobId, JobName, JobSpec, Millis, Program, type Sealed, type WorkspaceName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import { hash } from "node:crypto"

const { after, array, deadline, egress, gang, gpu, onSilence, priority, reads, resources, runtime, snapshotAtEnd, startFrom, trust, where } = JobSpec.fields

/** Ten years. Whatever is added to a moment stays a moment. */
export const lifeMsMax: typeof Millis.Type = 315_360_000_000
/** A length of time that somebody asks for. */
export const Life = Millis.pipe(Schema.check(Schema.isLessThanOrEqualTo(lifeMsMax)))
const AttemptsMax = Count.pipe(Schema.check(Schema.isLessThanOrEqualTo(10_000)))

/** A program that is larger than this does not belong into a fact. */
export const programBytesMax: typeof Bytes.Type = 16 * 1024

/**
 * What a submitter asks for. Fields that are not known are refused rather than ignored: they are misspelt.
 * Without `trust`, people vouch for their own work and agents for none; without `runtime`, work that
 * nobody vouches for is isolated.
 */
export const JobRequest = Schema.Struct({
  /** What you call it, in the open: small letters, digits and dashes. Many jobs may have one name. */
  name: Schema.optionalKey(JobName),
  /** The grant that it is submitted under; without it the token's own, or else your roles. */
  grant: Schema.optionalKey(GrantId),
  runtime: Schema.optionalKey(runtime),
  trust: Schema.optionalKey(trust),
  resources: resources.pipe(
    Schema.withDecodingDefaultKey(Effect.succeed({ cpuMilli: 1000, memoryMib: 256, diskMib: 0, gpus: 0 }))
  ),
  ...Program.fields,
  attemptsMax: AttemptsMax.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1))),
  runMsMax: Life.pipe(Schema.withDecodingDefaultKey(Effect.succeed(3_600_000))),
  onSilence,
  queueMsMax: Schema.optionalKey(Life),
  startMsMax: Schema.optionalKey(Life.pipe(Schema.check(Schema.isGreaterThan(0)))),
  /** A host looks no finer than a second. */
  idleMsMax: Schema.optionalKey(Life.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(1_000)))),
  deadline,
  array,
  after,
  gpu,
  where,
  priority,
  gang,
  reads,
  startFrom,
  egress,
  snapshotAtEnd
})
export type JobRequest = typeof JobRequest.Type

/** A name that a submitter gives to one request, so that sending it twice submits once. */
export const IdempotencyKey = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9_:-]{0,127}$/u)),
  Schema.brand("IdempotencyKey")
)
export type IdempotencyKey = typeof IdempotencyKey.Type

/** One key names one job of a workspace, forever. */
export const jobIdOf = (workspace: WorkspaceName, key: IdempotencyKey): JobId => namedId<JobId>("job", workspace, key)

/** Tells a repetition from another request: SHA-256 over the request with sorted keys. */
export const digestOf = (request: unknown): Digest =>
  `sha256:${hash("sha256", JSON.stringify(request, (_, value: unknown) =>
    typeof value === "bigint"
      ? value.toString()
      : typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)))
      : value) ?? "", "hex")}` as Digest

/**
 * Whether a digest is this request's, by whichever release it was taken: the first one filled in runtime and
 * trust before it took it.
 */
export const isDigestOf = (digest: Digest, request: JobRequest): boolean =>
  digest === digestOf(request) || digest === digestOf({ ...request, runtime: request.runtime ?? "process", trust: request.trust ?? "own" })

/** The part of a request that may hold secrets. */
export const programOf = ({ argv, cwd, env, files, labels }: JobRequest): Program => ({
  argv,
  env,
  labels,
  ...(files === undefined ? {} : { files }),
  ...(cwd === undefined ? {} : { cwd })
})

/** Who vouches for the work, where the request does not say: an agent vouches for nothing. */
export const trustOf = ({ trust }: JobRequest, vouches: boolean): JobSpec["trust"] => trust ?? (vouches ? "own" : "others")

/** The part that everybody who reads the log may see. */
export const specOf = (request: JobRequest, program: Sealed, vouches: boolean): JobSpec => {
  const { attemptsMax, gang, onSilence, resources, runMsMax } = request
  const trust = trustOf(request, vouches)
  // Sandboxes alone have networks: who asks for one has asked for them.
  const runtime = request.runtime ?? (trust === "own" && gang?.network !== "private" ? "process" : "sandbox")
  return {
    runtime,
    trust,
    resources,
    program,
    attemptsMax,
    runMsMax,
    onSilence,
    // The members of a gang are its tasks to everybody who tells of it.
    ...(request.gang === undefined ? {} : { array: { tasks: request.gang.members } }),
    ...given(request, "queueMsMax", "startMsMax", "idleMsMax", "deadline", "array", "after", "gpu", "where", "priority", "gang", "reads", "startFrom", "egress", "snapshotAtEnd"),
    // Members in sandboxes that could not speak to each other would be no gang: they may be asked for, and are not the rule.
    ...(gang === undefined || runtime !== "sandbox" ? {} : { gang: { ...gang, network: gang.network ?? "private" } }),
    ...dialectOf(request)
  }
}

/** The least that whoever places and runs it must understand. Nobody needs to for what every agent there has been does right. */
const dialectOf = (request: JobRequest): { readonly dialect?: Dialect } =>
  wantsWatching(request) ? { dialect: 4 } : wantsPlaces(request) ? { dialect: 3 } : isPlain(request) ? {} : { dialect: 2 }

/** Before the fourth dialect no agent looked at how long a start takes, or whether work does anything. */
const wantsWatching = ({ idleMsMax, startMsMax }: JobRequest): boolean => idleMsMax !== undefined || startMsMax !== undefined

/** Before the third dialect nobody told devices apart, and no scheduler minded where work runs, nor ran members together. */
const wantsPlaces = ({ gang, gpu, resources: { gpuMilli = 0, gpus }, where }: JobRequest): boolean =>
  gpus + gpuMilli > 0 || [gang, gpu, where].some((said) => said !== undefined)

/** Whether every agent there has been runs it as it is meant. Who reads the log does not see files and folder. */
const isPlain = ({ array, cwd, egress, files, snapshotAtEnd, startFrom }: JobRequest): boolean =>
  [array, cwd, egress, files, snapshotAtEnd, startFrom].every((said) => said === undefined)

const given = <Name extends keyof JobRequest>(request: JobRequest, ...names: ReadonlyArray<Name>): Pick<JobRequest, Name> =>
  Object.fromEntries(names.flatMap((name) => (request[name] === undefined ? [] : [[name, request[name]]]))) as Pick<JobRequest, Name>

/**
 * What lies in the open: other programs of a machine can read argv, and labels and names are shown to
 * whoever may list jobs. The environment and files are for the program alone.
 */
export const plainPartsOf = ({ argv, cwd, egress, labels, name }: JobRequest): ReadonlyArray<{ readonly where: string; readonly text: string }> => [
  ...argv.map((text, at) => ({ where: `argv[${at}]`, text })),
  ...Object.entries(labels).map(([key, text]) => ({ where: `labels.${key}`, text: `${key}=${text}` })),
  ...(egress ?? []).map((text, at) => ({ where: `egress[${at}]`, text })),
  ...(cwd === undefined ? [] : [{ where: "cwd", text: cwd }]),
  ...(name === undefined ? [] : [{ where: "name", text: name }])
]
