import { startServer } from "@millrace/infra-nats"
import { connectNats, openJournal, provisionStreams } from "@millrace/journal/jetstream"
import { measureReadModel } from "@millrace/readmodel/figures"
import { Effect, References, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fsyncMs } from "../figures.ts"
import type { Bench } from "../main.ts"
import { type Log, measureAppends, measureReads } from "./append.ts"
import { measureCodec } from "./codec.ts"
import { measureReplay } from "./replay.ts"

const usual = { one: 1_000, many: 50_000, jobs: 10_000, rows: { facts: 60_000, keys: 20_000 } }
const few = { one: 100, many: 2_000, jobs: 300, rows: { facts: 5_000, keys: 2_000 } }

/** The journal beside bare JetStream, and a projection beside bare Postgres, in one run on one disk that syncs every append. */
export const bench = ({ quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const rounds = quick ? few : usual
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const { append, ...reading } = yield* Effect.scoped(Effect.gen(function*() {
      const log = yield* opened(join(folder, "facts"))
      say("append")
      const append = yield* measureAppends(log, rounds)
      say("read and react")
      return { append, ...(yield* measureReads(log, rounds.many)) }
    }))
    say(`replay of ${rounds.jobs} jobs`)
    const replay = yield* Effect.scoped(Effect.flatMap(opened(join(folder, "day")), (log) => measureReplay(log, rounds.jobs, join(folder, "checkpoints"))))
    say("projection")
    const { commitMsFloor, factToRowMs, rowsPerSecond, rowsPerSecondFloor, sameAsReplay } = yield* measureReadModel(rounds.rows)
    return {
      append,
      ...reading,
      replay,
      projection: { bare: { rowsPerS: rowsPerSecondFloor, commitMs: commitMsFloor }, ours: { rowsPerS: rowsPerSecond, factToRowMs }, sameAsReplay },
      codec: measureCodec(rounds.many),
      fsyncMs: fsyncMs(folder)
    }
  }).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))

/** A nats-server of its own with all streams, and one connection beside the journal's. */
const opened = Effect.fnUntraced(function*(storeDir: string): Effect.fn.Return<Log, unknown, Scope.Scope> {
  const { url } = yield* startServer({ storeDir })
  const connection = yield* connectNats({ servers: url, name: "bare" })
  yield* provisionStreams({ connection, prefix: "$JS.API", patienceMs: 30_000 })
  return { connection, journal: yield* openJournal({ nats: { servers: url, name: "bench" } }) }
})
