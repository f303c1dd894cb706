import { Checkpoints } from "@millrace/journal"
import { Admission, AdmissionKeys } from "@millrace/journal/admission"
import { Digest, EpochMillis, Principal, WorkspaceName } from "@millrace/schemas"
import { Database } from "@millrace/readmodel"
import { logConfig, logLayer, service, setting, WarrantVerifier } from "@millrace/service"
import { Config, Effect, Layer, Schema } from "effect"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { AccessService } from "./service.ts"

/** A file that access needs is missing or malformed. */
export class FileUnreadable extends Schema.TaggedError<FileUnreadable>()("FileUnreadable", { path: Schema.String, detail: Schema.String }) {
  override get message() {
    return `${this.path} cannot be read: ${this.detail}. Run the provisioning again (npm start does it)`
  }
}

const OpenKeys = Schema.Struct({
  keys: Schema.Array(Schema.Struct({ digest: Digest, workspace: WorkspaceName, openedBy: Principal, expiresAtMs: EpochMillis }))
})

const fileOf = <A, I>(schema: Schema.Codec<A, I>) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema))
  return (path: string) =>
    Effect.tryPromise(() => readFile(path, "utf8")).pipe(
      Effect.flatMap(decode),
      Effect.mapError((error) => new FileUnreadable({ path, detail: error.message }))
    )
}

/** Who owns a cell that nobody owns yet: the token's digest, never the token. */
const Owner = Schema.Struct({ digest: Digest, principal: Principal, workspace: WorkspaceName })

const FactsBetween = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000_000 }))

const openKeysIn = fileOf(OpenKeys)
const ownerIn = fileOf(Owner)
const admissionKeysIn = fileOf(AdmissionKeys)

/** Access as a process: its settings, and what it stands on. */
export const accessProcess = service({
  name: "access",
  config: Config.all({
    log: logConfig,
    host: setting("MILLRACE_ACCESS_HOST", { purpose: "where hosts enrol", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_ACCESS_PORT", { purpose: "the port where hosts enrol", wants: "a port number from 1 to 65535", read: Config.Port, default: 8081 }),
    admissionKeys: setting("MILLRACE_ADMISSION_KEYS", { purpose: "the keys that hosts' credentials are signed with", wants: "a path", read: Config.NonEmptyString }),
    openKeys: setting("MILLRACE_ENROLMENTS", { purpose: "the digests of one-time keys that hosts may enrol with", wants: "a path", read: Config.NonEmptyString }),
    owner: setting("MILLRACE_OWNER", { purpose: "who owns a cell that nobody owns yet, and the digest of their token", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where access's tables are", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    checkpoints: setting("MILLRACE_CHECKPOINTS", { purpose: "where folds keep their checkpoints; may be deleted at any time", wants: "a path", read: Config.NonEmptyString }),
    checkpointEvery: setting("MILLRACE_CHECKPOINT_EVERY", {
      purpose: "how many facts of the scheduler are folded between two checkpoints",
      wants: "a whole number from 1 to 10000000",
      read: (name) => Config.schema(FactsBetween, name),
      default: 100_000
    }),
    cellKey: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which warrants are checked against", wants: "a path", read: Config.NonEmptyString })
  }),
  layer: ({ admissionKeys, cellKey, checkpointEvery, checkpoints, database, host, log, openKeys, owner, port }) => {
    const admission = Layer.unwrap(Effect.gen(function*() {
      const keys = yield* admissionKeysIn(admissionKeys)
      const path = join(log.credentials, "access.creds")
      const creds = yield* Effect.tryPromise({
        try: () => readFile(path, "utf8"),
        catch: (cause) => new FileUnreadable({ path, detail: String(cause) })
      })
      return Admission.layer({ servers: log.servers.split(","), creds, keys })
    }))
    return Layer.unwrap(Effect.gen(function*() {
      const { keys } = yield* openKeysIn(openKeys)
      const first = owner === undefined ? undefined : yield* ownerIn(owner)
      return AccessService({ host, port, open: keys, checkpointEvery, ...(first === undefined ? {} : { owner: first }) })
    })).pipe(
      Layer.provide([logLayer("access", log), admission, Checkpoints.layerFolder(checkpoints), Database.layer({ url: database }), WarrantVerifier.layer(cellKey)])
    )
  }
})
