import { startPostgres } from "@millrace/infra-postgres"
import { Effect } from "effect"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import postgres from "postgres"
import { providers, Said, suspend, worldAt } from "../fixtures/providers.ts"
import { contentHash, rebuildHash, runProjection, waitFor } from "../src/index.ts"
import { caughtUp } from "../src/testing.ts"

/** What a projection reaches here, beside the floor: the same rows and position by a bare client. Rates per second, times in ms. */
export interface ReadModelFigures {
  readonly facts: number
  readonly rowsPerSecond: number
  readonly rowsPerSecondFloor: number
  readonly factToRowMs: { readonly p50: number; readonly p99: number }
  readonly commitMsFloor: { readonly p50: number; readonly p99: number }
  readonly sameAsReplay: boolean
}

const quantile = (sorted: ReadonlyArray<number>, share: number): number =>
  Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 100) / 100

const spread = (times: ReadonlyArray<number>) => {
  const sorted = [...times].sort((a, b) => a - b)
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) }
}

/** Measures on a durable Postgres: `facts` facts about `keys` rows, then single facts one after another. */
export const measureReadModel = ({ facts, keys }: { readonly facts: number; readonly keys: number }): Effect.Effect<ReadModelFigures, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const dataDir = yield* Effect.acquireRelease(Effect.sync(() => {
      const dataDir = mkdtempSync(join(tmpdir(), "millrace-readmodel-bench-"))
      chmodSync(dataDir, 0o755)
      return dataDir
    }), (dataDir) => Effect.sync(() => rmSync(dataDir, { recursive: true, force: true })))
    const { url } = yield* startPostgres({ dataDir })
    const floor = yield* Effect.promise(() => bare(url, facts, keys))
    const said = new Said()
    for (let n = 0; n < facts; n++) said.say(suspend(`p${(n * 7919) % keys}`))
    const of = providers()
    const ours = yield* Effect.scoped(Effect.gen(function*() {
      const startedMs = performance.now()
      yield* Effect.forkScoped(runProjection(of))
      yield* caughtUp(of, 300_000)
      const rowsPerSecond = Math.round(facts / ((performance.now() - startedMs) / 1000))
      const times: Array<number> = []
      for (let n = 0; n < 300; n++) {
        yield* Effect.sleep(3)
        const saidMs = performance.now()
        yield* waitFor(of, { BROKER: said.say(suspend("p1")) }, 10_000)
        times.push(performance.now() - saidMs)
      }
      const { cut, hash } = yield* contentHash(of)
      return { rowsPerSecond, factToRowMs: spread(times), sameAsReplay: hash === (yield* rebuildHash(of, cut)).hash }
    })).pipe(Effect.provide(worldAt(url, said)))
    return { facts, ...ours, ...floor }
  }))

/** The same amount of rows in batches of 1,000, each with its position, by the driver alone. */
const bare = async (url: string, facts: number, keys: number) => {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  await sql.unsafe("create table floor (provider text primary key, suspended boolean, times int); create table floor_at (sequence int); insert into floor_at values (0)")
  const startedMs = performance.now()
  for (let at = 0; at < facts; at += 1000) {
    const rows = new Map<string, object>()
    for (let n = at; n < Math.min(facts, at + 1000); n++) rows.set(`p${(n * 7919) % keys}`, { provider: `p${(n * 7919) % keys}`, suspended: true, times: n })
    await sql.begin(async (tx) => {
      await tx`update floor_at set sequence = ${at + 1000} where sequence = ${at}`
      await tx.unsafe("insert into floor select * from jsonb_populate_recordset(null::floor, $1::text::jsonb) on conflict (provider) do update set suspended = excluded.suspended, times = excluded.times", [JSON.stringify([...rows.values()])])
    })
  }
  const rowsPerSecondFloor = Math.round(facts / ((performance.now() - startedMs) / 1000))
  const times: Array<number> = []
  for (let n = 0; n < 300; n++) {
    const sentMs = performance.now()
    await sql`insert into floor values (${`q${n}`}, true, 1)`
    times.push(performance.now() - sentMs)
  }
  await sql.end()
  return { rowsPerSecondFloor, commitMsFloor: spread(times) }
}

if (import.meta.main) console.log(JSON.stringify(await Effect.runPromise(measureReadModel({ facts: 60_000, keys: 20_000 })), null, 2))
