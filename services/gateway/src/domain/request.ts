import { namedId } from "@millrace/decider"
import { Bytes, Digest, JobId, JobSpec, Program, type Sealed, type WorkspaceName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import { hash } from "node:crypto"

const { attemptsMax, onSilence, resources, runMsMax, runtime, trust } = JobSpec.fields

/** A program that is larger than this does not belong into a fact. */
export const programBytesMax: typeof Bytes.Type = 16 * 1024

/** What a submitter asks for. Fields that are not known are refused rather than ignored: they are misspelt. */
export const JobRequest = Schema.Struct({
  runtime: runtime.pipe(Schema.withDecodingDefaultKey(Effect.succeed("process" as const))),
  trust: trust.pipe(Schema.withDecodingDefaultKey(Effect.succeed("own" as const))),
  resources: resources.pipe(
    Schema.withDecodingDefaultKey(Effect.succeed({ cpuMilli: 1000, memoryMib: 256, diskMib: 0, gpus: 0 }))
  ),
  ...Program.fields,
  attemptsMax,
  runMsMax,
  onSilence
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
export const digestOf = (request: JobRequest): Digest =>
  `sha256:${hash("sha256", JSON.stringify(request, (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)))
      : value), "hex")}` as Digest

/** The part of a request that may hold secrets. */
export const programOf = ({ argv, env, labels }: JobRequest): Program => ({ argv, env, labels })

/** The part that everybody who reads the log may see. */
export const specOf = ({ attemptsMax, onSilence, resources, runMsMax, runtime, trust }: JobRequest, program: Sealed): JobSpec => ({
  runtime,
  trust,
  resources,
  program,
  attemptsMax,
  runMsMax,
  onSilence
})
