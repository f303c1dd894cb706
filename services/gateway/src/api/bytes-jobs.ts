import type { Blobs } from "@millrace/blobs"
import type { Journal } from "@millrace/journal"
import type { Database } from "@millrace/readmodel"
import type { Digest } from "@millrace/schemas"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { placeOf } from "../domain/log-pieces.ts"
import { noTask } from "../projections/attempts.ts"
import type { Gate } from "../reactors/gate.ts"
import type { LiveOutput } from "../reactors/live-output.ts"
import { Api } from "./api.ts"
import type { ArtefactView } from "./bytes.ts"
import { blobAnswer } from "./bytes-answer.ts"
import { allowed } from "./bytes-gate.ts"
import { blobOf, isOurs, type Kept, keptOf, listKept, type Which } from "./bytes-kept.ts"
import { logAnswer } from "./bytes-logs.ts"
import type { Watch } from "./bytes-watch.ts"
import { BadRequest, NotFound } from "./errors.ts"

const listMax = 1000

/** What jobs say and make, from the blob store, or from the host while they run. */
export const JobBytesLive = HttpApiBuilder.group(Api, "bytes", Effect.fn(function*(handlers) {
  const stores = yield* Effect.context<Blobs | Database | Gate | Journal | LiveOutput | Watch>()

  /** The caller, if it may read the job; a job of another workspace is not found. */
  const reader = Effect.fnUntraced(function*(jobId: string) {
    const who = yield* allowed("job.read", `job/${jobId.replaceAll(/[^A-Za-z0-9_]/gu, "_").slice(0, 64)}`)
    yield* isOurs(who.workspace, jobId)
    return who
  })

  const kept = Effect.fnUntraced(function*(form: "output" | "file", { jobId, name }: { readonly jobId: string; readonly name: string }, query: Which & { readonly offset?: number }) {
    const { workspace } = yield* reader(jobId)
    const row = yield* keptOf(workspace, jobId, form, name, query)
    if (row === undefined) return yield* notKept(jobId, name)
    return yield* blobAnswer(blobOf(row), { name: `${jobId}-${name}`, droppedBytes: Number(row.dropped_bytes), ...query })
  })

  return handlers.handleAll({
    output: ({ params, query }) => kept("output", params, query).pipe(Effect.provideContext(stores)),
    artefact: ({ params, query }) => kept("file", params, query).pipe(Effect.provideContext(stores)),
    artefacts: ({ params: { jobId }, query: { after, limit = listMax, ...which } }) =>
      Effect.gen(function*() {
        const { workspace } = yield* reader(jobId)
        const rows = yield* listKept(workspace, jobId, which, { limit, ...(after === undefined ? {} : { after }) })
        return { artefacts: rows.map(viewOf) }
      }).pipe(Effect.provideContext(stores)),
    logs: ({ headers, params: { jobId }, query }) =>
      Effect.gen(function*() {
        const who = yield* reader(jobId)
        const given = headers["last-event-id"] ?? query.from
        const place = given === undefined || given === "" ? undefined : placeOf(given)
        if (given !== undefined && given !== "" && place === undefined) return yield* placeMalformed(given)
        const offset = query.offset ?? 0
        return yield* logAnswer({
          who,
          jobId: jobId as never,
          stream: query.stream ?? "stdout",
          task: query.task,
          from: place ?? (query.attempt === undefined ? undefined : { attempt: query.attempt, offset }),
          offset,
          follow: query.follow === "true" || query.follow === ""
        })
      }).pipe(Effect.provideContext(stores))
  })
}))

const viewOf = ({ attempt, digest, dropped_bytes, name, size_bytes, task }: Kept): ArtefactView => ({
  name,
  sizeBytes: Number(size_bytes),
  digest: digest as Digest,
  droppedBytes: Number(dropped_bytes),
  attempt,
  task: task === noTask ? null : task
})

const notKept = (jobId: string, name: string) =>
  new NotFound({
    code: "output_unknown",
    what: `${jobId} kept no ${name.slice(0, 200)}`,
    where: "this job",
    remedy: "what still runs has kept nothing yet: follow it with /logs, or see what was kept with /artefacts"
  })

const placeMalformed = (given: string) =>
  new BadRequest({
    code: "place_malformed",
    what: `${given.slice(0, 60)} is no place in a log`,
    where: "Last-Event-ID, or from in the query",
    remedy: "send the id of the last event as it came, such as 1:2048, or none"
  })
