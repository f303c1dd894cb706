import { Beats, type Checkpoints, type Commit, Journal, type JournalUnavailable, Overtaken, readable, runDecider, type RunOptions, Seat, type StoredCommit } from "@millrace/journal"
import { type Database, runProjections } from "@millrace/readmodel"
import { type ApiPortTaken, Authentication, Authority, httpServer, WarrantSigner, type WarrantVerifier, worker } from "@millrace/service"
import type { MillFact, Principal } from "@millrace/schemas"
import { Clock, Effect, Layer, Option } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Api } from "./api/api.ts"
import { LooksLive, WellformedLive } from "./api/looks.ts"
import type { Rounds } from "./api/rounds.ts"
import { scheduler } from "./domain/scheduler.ts"
import type { World } from "./domain/world.ts"
import { cell } from "./projections/cell.ts"
import { Listener, type ListenerNote } from "./reactors/beats.ts"

/** How long a host may go on without hearing from the scheduler, in ms, unless the settings say. */
export const leaseMsUsual = 15_000

/** How the scheduler runs, where that may differ: what it decides never does. */
export type Pace = Partial<Pick<RunOptions<World>, "decider" | "checkpointEvery" | "windowMax" | "watch">> & { readonly leaseMs?: number }

/** The scheduler at another pace than the usual one, for simulations and benches. */
export const schedulerService = ({ leaseMs = leaseMsUsual, watch, ...pace }: Pace = {}): Layer.Layer<never, never, SchedulerNeeds> =>
  Layer.unwrap(Effect.gen(function*() {
    const signer = yield* WarrantSigner
    const beats = yield* Beats
    const journal = yield* Journal
    const { epoch } = journal
    const seat = Option.getOrUndefined(yield* Effect.serviceOption(Seat))
    const clock = yield* Clock.Clock
    const notes: Array<ListenerNote> = []
    let ownSequence = 0
    const listener = new Listener({ leaseMs, epoch, nowMs: () => clock.currentTimeMillisUnsafe(), note: (note) => void notes.push(note) })
    const deciding = runDecider({
      decider: scheduler,
      ...pace,
      seat,
      watch: (world, saw, last) => {
        listener.watch(world)
        ownSequence = last
        watch?.(world, saw, last)
      },
      listening: { silences: (atMs) => listener.silences(atMs), dueAtMs: () => listener.dueAtMs() },
      takeOver: { subject: { kind: "fleet", scope: "cell" }, fact: tookOver },
      finish: (commit) => signed(commit, (warrant) => signer.sign(warrant)),
      ...(signer.signAll === undefined ? {} : { finishAll: (commits) => signedAll(commits, signer.signAll!) })
    }).pipe(Effect.ensuring(Effect.sync(() => listener.stop())))
    // Whoever takes over says so on this subject, so its newest word is ours for as long as nobody has.
    const confirming = Effect.forever(Effect.gen(function*() {
      const atMs = clock.currentTimeMillisUnsafe()
      const newest = yield* Effect.orElseSucceed(journal.last({ kind: "fleet", scope: "cell" }), () => undefined)
      if (newest !== undefined && newest.place.sequence <= ownSequence) listener.confirm(atMs)
      // One that stood still while another took over has perhaps nothing to say, and so would never hear of it.
      else if (newest !== undefined && ownSequence > 0 && tellsTakeOver(newest)) {
        return yield* new Overtaken({ where: "SCHEDULER", expected: ownSequence, actual: newest.place.sequence })
      }
      yield* Effect.sleep(confirmEveryMs)
    }))
    const answering = Effect.andThen(beats.answer((beat) => listener.answer(beat)), Effect.raceFirst(confirming, saying(notes, leaseMs)))
    const living = Effect.suspend(() => {
      // Of what an earlier life of this worker wrote nothing speaks for this one.
      ownSequence = 0
      return Effect.scoped(Effect.raceFirst(deciding, answering))
    })
    return worker(living, { name: "scheduler" })
  }))

const confirmEveryMs = 250

const tellsTakeOver = (commit: StoredCommit): boolean => readable(commit).facts.some(({ event }) => event._tag === "SchedulerTookOver")

/** Everything the scheduler stands on. */
export type SchedulerNeeds = Journal | Beats | Checkpoints | WarrantSigner

/** Whoever operates the cell is told that nobody is declared lost, and why. */
const saying = (notes: Array<ListenerNote>, leaseMs: number): Effect.Effect<never> =>
  Effect.forever(Effect.andThen(Effect.sleep(Math.max(20, Math.floor(leaseMs / 5))), Effect.suspend(() => Effect.forEach(notes.splice(0), (note) =>
    note.what === "hears again"
      ? Effect.logInfo("Hosts are heard as before")
      : Effect.logWarning(`${note.silent} of ${note.expected} hosts fell silent together: that is likelier our own deafness, so none of them is declared lost. Check the way from here to nats-server`)))))

/**
 * Everything the scheduler does: it owns the cell's one order, and in it places, withdraws, retries and
 * settles. Run two: one decides, and the other follows the log as a standby and takes over when the first is gone
 * or stands still. When another has taken over, this one can append nothing more, and begins anew as a standby. A
 * bug in it ends the process, so that nobody waits for a scheduler that is there and decides nothing.
 */
export const SchedulerService: Layer.Layer<never, never, SchedulerNeeds> = schedulerService()

export interface ReadsOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** How the scheduler of this process decides, where it has one. */
  readonly rounds?: Rounds
}

/**
 * Answers where work can run and why it waits, from tables of its own. Nothing that is decided looks there:
 * without Postgres the answers fail and work is placed as ever.
 */
export const SchedulerReads = ({ host, port, rounds }: ReadsOptions): Layer.Layer<never, JournalUnavailable | ApiPortTaken, Journal | Database | WarrantVerifier> => {
  const routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide(LooksLive(rounds)),
    Layer.provide([Authentication.layer, WellformedLive]),
    Layer.provide(Authority.layer)
  )
  const http = HttpRouter.serve(routes, { disableLogger: true }).pipe(
    Layer.provide(httpServer({ host, port }))
  )
  return Layer.merge(http, runProjections([cell]))
}

const tookOver = (world: World): MillFact => ({
  _tag: "SchedulerTookOver",
  term: world.term + 1,
  scheduler: scheduler.actor as Principal,
  codeVersion: scheduler.codeVersion
})

/** Warrants are signed behind the decision, because the key is not in the log and a replay has none. */
const signed = (commit: Commit, sign: WarrantSigner["Service"]["sign"]): Commit => ({
  ...commit,
  facts: commit.facts.map((fact) =>
    fact.event._tag === "PlacementMade"
      ? { ...fact, event: { ...fact.event, signature: sign(fact.event.warrant) } }
      : fact) as unknown as Commit["facts"]
})

const signedAll = Effect.fnUntraced(function*(commits: ReadonlyArray<Commit>, signAll: NonNullable<WarrantSigner["Service"]["signAll"]>) {
  const warrants = commits.flatMap(({ facts }) => facts.flatMap(({ event }) => (event._tag === "PlacementMade" ? [event.warrant] : [])))
  if (warrants.length === 0) return commits
  const signatures = yield* signAll(warrants)
  const of = new Map(warrants.map((warrant, at) => [warrant, signatures[at]!]))
  return commits.map((commit) => signed(commit, (warrant) => of.get(warrant)!))
})

/** What a replay compares: everything but the signature. */
export const comparable = (event: unknown): unknown => ({ ...(event as object), signature: undefined })
