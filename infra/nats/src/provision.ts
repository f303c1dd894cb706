import { BLOBS_BUCKET, credentialsIn } from "@millrace/journal/admission"
import { JournalUnavailable } from "@millrace/journal"
import { ask, checkStreams, connectNats, provisionStreams, type StreamSizes } from "@millrace/journal/jetstream"
import { Effect } from "effect"

const PATIENCE_MS = 60_000

export interface ProvisionOptions extends StreamSizes {
  readonly servers: ReadonlyArray<string>
  /** The text of the provisioner's credentials file; without it, a server without accounts. */
  readonly creds?: string
}

/**
 * Makes the streams that are missing, written from the schemas, and the object store's bucket. Streams
 * that are there stay as they are; one that is not what the schemas say is refused in a sentence.
 */
export const provision = ({ creds, servers, ...sizes }: ProvisionOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* connectNats({ servers, name: "provisioner", patienceMs: PATIENCE_MS, ...(creds === undefined ? {} : credentialsIn(creds)) })
    const api = { connection, prefix: "$JS.API", patienceMs: PATIENCE_MS }
    yield* provisionStreams(api, sizes)
    yield* checkStreams(api)
    yield* Effect.mapError(ask(api, `STREAM.CREATE.OBJ_${BLOBS_BUCKET}`, bucketConfig(sizes.replicas ?? 1)), (error) =>
      new JournalUnavailable({ doing: "creating the object store", detail: error._tag === "ApiError" ? error.description : error.detail }))
  }))

/**
 * An object store's stream, as its clients expect it. Source:
 * https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
 */
const bucketConfig = (replicas: number) => ({
  name: `OBJ_${BLOBS_BUCKET}`,
  subjects: [`$O.${BLOBS_BUCKET}.C.>`, `$O.${BLOBS_BUCKET}.M.>`],
  storage: "file",
  discard: "new",
  allow_rollup_hdrs: true,
  allow_direct: true,
  max_age: 0,
  num_replicas: replicas
})
