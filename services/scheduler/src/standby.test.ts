import { assert, describe, it } from "@effect/vitest"
import { deriveId } from "@millrace/decider"
import { startServer } from "@millrace/infra-nats"
import { type JournalShape, readable } from "@millrace/journal"
import { connectNats, openJournal, provisionStreams } from "@millrace/journal/jetstream"
import type { FactId, MillFact, Principal } from "@millrace/schemas"
import { Effect, type Scope } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { admitted, job, joined, needs, subjectOf, submitted } from "./testing/cell.ts"

const waitMsMax = 20_000
/** How soon a standby must speak on a machine that may be busy. That it takes no two seconds is held in simulated time: tests/simulation/contested.test.ts. */
const soonMs = 10_000
/** So many jobs run and wait while schedulers come and go. */
const crowd = 400
const pollMs = 10

interface Life {
  readonly child: ChildProcess
  readonly log: () => string
}

/** A scheduler in a process of its own. */
const started = (url: string, folder: string): Effect.Effect<Life, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = fork(fileURLToPath(new URL("./testing/scheduler-process.ts", import.meta.url)), [url, folder], { stdio: ["ignore", "pipe", "pipe", "ipc"] })
      let log = ""
      for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => void (log += text))
      return { child, log: () => log }
    }),
    ({ child }) => Effect.callback<void>((resume) => {
      if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
      child.once("exit", () => resume(Effect.void))
      child.kill("SIGKILL")
    })
  )

const until = (what: string, holds: () => boolean): Effect.Effect<number> =>
  Effect.gen(function*() {
    const beganMs = performance.now()
    while (!holds()) {
      if (performance.now() - beganMs > waitMsMax) return yield* Effect.die(new Error(`nobody saw that ${what}`))
      yield* Effect.sleep(pollMs)
    }
    return Math.round(performance.now() - beganMs)
  })

const append = Effect.fnUntraced(function*(journal: JournalShape, event: MillFact) {
  const subject = subjectOf(event)
  const id = deriveId<FactId>("fct", Date.now(), JSON.stringify(event))
  const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
  return yield* journal.append({ subject, actor: "user:ada" as Principal, happenedAtMs: Date.now(), facts: [{ id, partOf: id, event }] }, { last: "subject", sequence })
})

describe("a scheduler that stands by", () => {
  it.live("leaves one that is well alone, takes over from one that died or stands still, and lets that one say nothing more", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-standby-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
      )
      const { url } = yield* startServer({ storeDir: join(folder, "facts") })
      const connection = yield* connectNats({ servers: url, name: "provisioner" })
      yield* provisionStreams({ connection, prefix: "$JS.API", patienceMs: 30_000 })
      const journal = yield* openJournal({ nats: { servers: url, name: "test" } })
      for (const name of ["a", "b", "c"]) yield* Effect.forEach([admitted(name), joined(name)], (event) => append(journal, event))
      const heard: Array<MillFact> = []
      const reader = yield* journal.read("SCHEDULER", { after: 0 })
      yield* Effect.forkScoped(Effect.forever(Effect.map(reader.take, (commits) => commits.forEach((commit) => heard.push(...readable(commit).facts.map(({ event }) => event))))))
      const takeOvers = () => heard.filter(({ _tag }) => _tag === "SchedulerTookOver").length
      const placed = (name: string) => heard.filter((event) => event._tag === "PlacementMade" && event.jobId === job(name)).length
      const crowdPlaced = () => heard.filter(({ _tag }) => _tag === "PlacementMade").length
      const places = (name: string) => Effect.andThen(append(journal, submitted(name, { priority: 80, resources: needs(100) })), until(`${name} is placed`, () => placed(name) > 0))
      const standsBy = ({ log }: Life, times = 1) => until("it stands by", () => log().split("stands by").length > times)

      const first = yield* started(url, folder)
      yield* until("one took over", () => takeOvers() === 1)
      // Enough that the world is not empty: what fits runs, the most of it waits, and each round has them in mind.
      const many = Array.from({ length: crowd }, (_, index) => `c${index}`)
      yield* Effect.forEach(many, (name) => append(journal, submitted(name, { priority: 20, resources: needs(1_200) })), { concurrency: 16, discard: true })
      yield* until("some of the crowd run and the others wait", () => crowdPlaced() >= 9 && heard.some(({ _tag }) => _tag === "JobDeferred"))
      const second = yield* started(url, folder)
      yield* standsBy(second)
      yield* places("j1")
      assert.strictEqual(takeOvers(), 1)

      first.child.kill("SIGKILL")
      const afterDeathMs = yield* until("the standby took over", () => takeOvers() === 2)
      yield* places("j2")

      const third = yield* started(url, folder)
      yield* standsBy(third)
      second.child.kill("SIGSTOP")
      const afterStandstillMs = yield* until("the next standby took over", () => takeOvers() === 3)
      yield* places("j3")
      assert.isBelow(Math.max(afterDeathMs, afterStandstillMs), soonMs)
      const before = heard.length
      second.child.kill("SIGCONT")
      yield* standsBy(second)
      yield* places("j4")
      assert.deepStrictEqual(["j1", "j2", "j3", "j4"].map(placed), [1, 1, 1, 1])
      assert.strictEqual(takeOvers(), 3)
      // Whoever stood still appends nothing: all that was said since is the third one's placement, and what it says of demand.
      assert.deepStrictEqual(heard.slice(before).map(({ _tag }) => _tag).filter((tag) => tag !== "DemandChanged"), ["PlacementMade"])
      yield* Effect.logInfo(`took over ${afterDeathMs} ms after a death, ${afterStandstillMs} ms after a standstill`)
    }).pipe(Effect.scoped), 90_000)
})
