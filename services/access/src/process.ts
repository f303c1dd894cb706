import { Admission, AdmissionKeys } from "@millrace/journal/admission"
import { Digest, EpochMillis, Principal, WorkspaceName } from "@millrace/schemas"
import { logConfig, logLayer, service, setting } from "@millrace/service"
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

const openKeysIn = fileOf(OpenKeys)
const admissionKeysIn = fileOf(AdmissionKeys)

/** Access as a process: its settings, and what it stands on. */
export const accessProcess = service({
  name: "access",
  config: Config.all({
    log: logConfig,
    host: setting("MILLRACE_ACCESS_HOST", { purpose: "where hosts enrol", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_ACCESS_PORT", { purpose: "the port where hosts enrol", wants: "a port number from 1 to 65535", read: Config.Port, default: 8081 }),
    admissionKeys: setting("MILLRACE_ADMISSION_KEYS", { purpose: "the keys that hosts' credentials are signed with", wants: "a path", read: Config.NonEmptyString }),
    openKeys: setting("MILLRACE_ENROLMENTS", { purpose: "the digests of one-time keys that hosts may enrol with", wants: "a path", read: Config.NonEmptyString })
  }),
  layer: ({ admissionKeys, host, log, openKeys, port }) => {
    const admission = Layer.unwrap(Effect.gen(function*() {
      const keys = yield* admissionKeysIn(admissionKeys)
      const path = join(log.credentials, "access.creds")
      const creds = yield* Effect.tryPromise({
        try: () => readFile(path, "utf8"),
        catch: (cause) => new FileUnreadable({ path, detail: String(cause) })
      })
      return Admission.layer({ servers: log.servers.split(","), creds, keys })
    }))
    return Layer.unwrap(Effect.map(openKeysIn(openKeys), ({ keys }) => AccessService({ host, port, open: keys }))).pipe(
      Layer.provide([logLayer("access", log), admission])
    )
  }
})
