import { Blobs } from "@millrace/blobs"
import { Checkpoints } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { Authority, logConfig, logLayer, service, setting, WarrantVerifier } from "@millrace/service"
import { Config, Effect, Layer, Redacted, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { dirname } from "node:path"
import { limitsIn, ProviderFile, type ProviderSettings, providersLayer } from "./providers/all.ts"
import { cellNamed, unnamedCell } from "./providers/cell-name.ts"
import { BrokerSecret } from "./reactors/one-time-key.ts"
import { BrokerService } from "./service.ts"

/** A file that the broker needs is missing or malformed. */
export class FileUnreadable extends Schema.TaggedError<FileUnreadable>()("FileUnreadable", { path: Schema.String, detail: Schema.String }) {
  override get message() {
    return `${this.path} cannot be read: ${this.detail}. Write it again, or point the setting that names it elsewhere`
  }
}

const decodeProviders = Schema.decodeUnknownEffect(Schema.fromJsonString(ProviderFile))

const textIn = (path: string): Effect.Effect<string, FileUnreadable> =>
  Effect.tryPromise({ try: () => readFile(path, "utf8"), catch: (cause) => new FileUnreadable({ path, detail: String(cause) }) })

const providersIn = (path: string | undefined): Effect.Effect<ReadonlyArray<ProviderSettings>, FileUnreadable> =>
  path === undefined ? Effect.succeed([]) : Effect.flatMap(textIn(path), (text) =>
    decodeProviders(text).pipe(Effect.map(({ providers }) => providers), Effect.mapError((error) => new FileUnreadable({ path, detail: error.message }))))

/**
 * The secret that one-time keys follow from, made once (0600). Two processes that start together agree: one links its file.
 * One that is there is only read, so its folder may be closed to writing.
 */
const secretIn = (path: string): Effect.Effect<Redacted.Redacted> =>
  Effect.sync(() => {
    if (existsSync(path)) return Redacted.make(readFileSync(path, "utf8").trim())
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const draft = `${path}.${process.pid}`
    writeFileSync(draft, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600 })
    try {
      linkSync(draft, path)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause
    } finally {
      rmSync(draft)
    }
    return Redacted.make(readFileSync(path, "utf8").trim())
  })

const Machines = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))
const Dollars = Schema.String.check(Schema.isPattern(/^[0-9]{1,9}(\.[0-9]{1,6})?$/u))

/** Dollars an hour as people write them, in pico-dollars. */
const picoOf = (dollars: string): bigint => {
  const [whole = "0", part = ""] = dollars.split(".")
  return BigInt(whole) * 1_000_000_000_000n + BigInt(part.padEnd(12, "0"))
}

const seconds = (name: string, purpose: string, initially: number) =>
  setting(name, { purpose, wants: "a whole number of seconds from 1 to 86400", read: (field) => Config.schema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 86_400 })), field), default: initially })

/** The broker as a process: its settings, and what it stands on. */
export const brokerProcess = service({
  name: "broker",
  config: Config.all({
    log: logConfig,
    cell: setting("MILLRACE_CELL", { purpose: "the cell it belongs to, and the tag of its machines: to be set where providers are named that are not on this machine", wants: "a name that no other cell in the providers' accounts has", read: Config.NonEmptyString, default: unnamedCell }),
    host: setting("MILLRACE_BROKER_HOST", { purpose: "where its reads are served", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_BROKER_PORT", { purpose: "the port of its reads", wants: "a port number from 1 to 65535", read: Config.Port, default: 8085 }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where the broker's tables are", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    blobs: setting("MILLRACE_BLOBS", { purpose: "the folder that holds blobs", wants: "a path", read: Config.NonEmptyString }),
    checkpoints: setting("MILLRACE_CHECKPOINTS", { purpose: "where folds keep their checkpoints; may be deleted at any time", wants: "a path", read: Config.NonEmptyString }),
    cellKey: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which warrants are checked against", wants: "a path", read: Config.NonEmptyString }),
    secret: setting("MILLRACE_BROKER_KEY", { purpose: "the file of the secret that one-time keys follow from; made when missing", wants: "a path", read: Config.NonEmptyString }),
    providers: setting("MILLRACE_PROVIDERS", { purpose: "the file that names the providers, their endpoints and their key files; without it nothing is bought", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    agent: setting("MILLRACE_AGENT_SETTINGS", { purpose: "the file of NAME=value lines that a new machine's agent starts with", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    machinesMax: setting("MILLRACE_BROKER_MACHINES_MAX", { purpose: "no machine is asked for past so many", wants: "a whole number from 0 to 100000", read: (name) => Config.schema(Machines, name), default: 4 }),
    spendMax: setting("MILLRACE_BROKER_SPEND_MAX", { purpose: "no machine is asked for past so many dollars an hour", wants: "dollars such as 12.50", read: (name) => Config.schema(Dollars, name), default: "10" }),
    answerS: seconds("MILLRACE_BROKER_ANSWER_S", "how long a provider may take to hand over a machine", 300),
    bootS: seconds("MILLRACE_BROKER_BOOT_S", "how long a machine may take until its host joins", 900),
    idleS: seconds("MILLRACE_BROKER_IDLE_S", "how long a machine may have no work before it is given back", 600),
    deadManS: seconds("MILLRACE_BROKER_DEAD_MAN_S", "how long a machine may not have heard from this cell until it turns itself off, at providers where that ends it", 3_600),
    sweepS: seconds("MILLRACE_BROKER_SWEEP_S", "how often the providers' lists are compared with ours", 50),
    plansS: seconds("MILLRACE_BROKER_PLANS_S", "how often it is solved what to have, while something changes", 15),
    buffer: setting("MILLRACE_BROKER_BUFFER_PERMILLE", { purpose: "idle machines that are kept ready, in thousandths of what demand for their kind of GPU grows by while one is on its way; 0 keeps none", wants: "a whole number from 0 to 10000", read: (name) => Config.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })), name), default: 0 }),
    dryRun: setting("MILLRACE_BROKER_DRY_RUN", { purpose: "true: it decides and says what it would buy, and buys nothing", wants: "true or false", read: Config.Boolean, default: false }),
    offersS: seconds("MILLRACE_BROKER_OFFERS_S", "how often the providers' offers are read", 60)
  }),
  layer: (settings) => {
    const { agent, blobs, cell, cellKey, checkpoints, database, host, log, port, providers, secret } = settings
    const journal = logLayer("broker", log)
    return Layer.unwrap(Effect.gen(function*() {
      const named = yield* providersIn(providers)
      yield* cellNamed(cell, named)
      const agentSettings = agent === undefined ? "" : yield* textIn(agent)
      return BrokerService({
        host,
        port,
        agentSettings,
        deadManMs: settings.deadManS * 1000,
        bounds: {
          cell,
          machinesMax: settings.machinesMax,
          spendPicoPerHourMax: picoOf(settings.spendMax),
          answerMsMax: settings.answerS * 1000,
          bootMsMax: settings.bootS * 1000,
          idleMsMax: settings.idleS * 1000,
          ...(settings.buffer > 0 ? { bufferPermille: settings.buffer } : {}),
          ...(settings.dryRun ? { dryRun: true } : {}),
          ...limitsIn(named)
        },
        plansEveryMs: settings.plansS * 1000,
        sweepEveryMs: settings.sweepS * 1000,
        offersEveryMs: settings.offersS * 1000
      }).pipe(
        Layer.provide([
          providersLayer(named),
          Layer.effect(BrokerSecret, secretIn(secret)),
          Database.layer({ url: database }),
          Blobs.folder(blobs),
          Checkpoints.layerFolder(checkpoints),
          WarrantVerifier.layer(cellKey),
          Authority.layer
        ]),
        Layer.provide(journal)
      )
    }))
  }
})
