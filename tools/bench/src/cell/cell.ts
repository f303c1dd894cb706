import { type Cell, type NatsServer, startCell } from "@millrace/infra-nats"
import { credentialsIn, makeAdmission } from "@millrace/journal/admission"
import { openJournal } from "@millrace/journal/jetstream"
import type { HostId } from "@millrace/schemas"
import { Cause, Effect, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { availableParallelism, tmpdir, totalmem } from "node:os"
import { join } from "node:path"
import { fsyncMs, rounded } from "../figures.ts"
import type { Bench } from "../main.ts"
import { type Fleet, startFleet } from "./fleet.ts"
import { cpuMs, raiseFileLimit, residentMib } from "./machine.ts"
import { type Delivered, type Placing, placingOver } from "./placing.ts"
import { sharedNowMs } from "./words.ts"

/** What a cell must keep up to count as carrying its hosts, and how long each part may be tried. */
const limits = {
  joinMsMax: 75_000,
  joinedPerSMin: 20,
  deliveryMsP99Max: 1_000,
  undeliveredMsMax: 20_000,
  restartMsMax: 60_000,
  allMsMax: 300_000,
  memoryShareMax: 0.5,
  /** Files that the server and a process of hosts need beside one a host. */
  filesBeside: 500,
  hostsMax: 64_000
}

interface Stage {
  readonly hosts: number
  readonly joinedPerS: number
  /** Consumers made and credentials minted: the part of joining that access and the server do. */
  readonly admittedPerS: number
  readonly joinCpuPercent: Busy
  readonly idleCpuPercent: Busy
  readonly serverMemoryMib: number
  readonly hostProcessesMemoryMib: number
  readonly delivery: Delivered & { readonly perS: number }
  readonly restart: Restart | { readonly error: string }
}

/** `served...` count from when the server is asked to stop until a host's reactor hands over what came after. */
interface Restart {
  /** It is killed where it has not stopped by itself within 10 s. */
  readonly stopMs: number
  readonly startMs: number
  /** When the log had answered the scheduler's appends again. */
  readonly appendedMs: number
  readonly servedMsP50: number
  readonly servedMsP99: number
  readonly allServedMs: number
  readonly unserved: number
}

/** CPU used in percent of one core: says who the wall was. */
interface Busy {
  readonly server: number
  readonly hostProcesses: number
  readonly admission: number
}

interface Standing {
  readonly cell: Cell
  readonly fleet: Fleet
  readonly placing: Placing
  readonly pace: { readonly perS: number; readonly placementsMax: number; readonly idleMs: number }
}

/**
 * How many hosts one cell carries: each with its own key, user, connection and consumer. Hosts join, are
 * placed on, and are served again after their server has restarted; then there are twice as many, until
 * something gives.
 */
export const bench = ({ hosts: asked, quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const filesMax = raiseFileLimit()
    const first = asked ?? (quick ? 50 : 1_000)
    const most = quick ? first * 2 : limits.hostsMax
    const standing = yield* opened(folder, quick)
    const beganMs = sharedNowMs()
    const stages: Array<Stage> = []
    let ceiling = 0
    let brokeBy: string | undefined
    for (let wanted = first; brokeBy === undefined; wanted *= 2) {
      brokeBy = notTried(wanted, { most, filesMax, tookMs: sharedNowMs() - beganMs })
      if (brokeBy !== undefined) break
      say(`${wanted} hosts`)
      const stage = yield* tried(standing, wanted, say)
      if ("hosts" in stage) stages.push(stage)
      brokeBy = "hosts" in stage ? overstrained(standing, stage) : stage.error
      if (brokeBy === undefined && "hosts" in stage) {
        ceiling = stage.hosts
        brokeBy = tooSlow(stage, wanted)
      }
    }
    return {
      hosts: stages,
      ceiling,
      brokeBy,
      machine: { cores: availableParallelism(), memoryMib: Math.round(totalmem() / 2 ** 20), filesMax, hostProcesses: standing.fleet.pids.length, fsyncMs: fsyncMs(folder) }
    }
  })

/** Why so many hosts are not even tried. */
const notTried = (wanted: number, { filesMax, most, tookMs }: { readonly most: number; readonly filesMax: number; readonly tookMs: number }): string | undefined => {
  if (wanted > most) return `nothing: it was told to stop at ${most} hosts`
  if (wanted + limits.filesBeside > filesMax) return `open files: ${wanted} hosts need more than the ${filesMax} that the server may have on this machine (ulimit -n)`
  if (tookMs > limits.allMsMax) return `nothing: the bench ends after ${limits.allMsMax / 1000} s, before it came to ${wanted} hosts`
  return undefined
}

/** A cell with its accounts, somebody who admits, the scheduler's line and processes for hosts. */
const opened = Effect.fnUntraced(function*(folder: string, quick: boolean): Effect.fn.Return<Standing, unknown, Scope.Scope> {
  const cell = yield* startCell({ storeDir: join(folder, "store"), keysDir: join(folder, "keys") })
  const admission = yield* makeAdmission({ servers: cell.urls, creds: cell.keys.creds("access"), keys: cell.keys.admission })
  const fleet = yield* startFleet({ admission, url: cell.urls[0]!, processes: quick ? 2 : Math.max(4, availableParallelism()) })
  const journal = yield* openJournal({ nats: { servers: cell.urls, name: "scheduler", ...credentialsIn(cell.keys.creds("scheduler")) }, streams: ["SCHEDULER"], writes: ["SCHEDULER"] })
  const placing = placingOver(yield* journal.line("SCHEDULER", yield* journal.head("SCHEDULER")), fleet)
  return { cell, fleet, placing, pace: quick ? { perS: 100, placementsMax: 100, idleMs: 1_000 } : { perS: 100, placementsMax: 1_000, idleMs: 5_000 } }
})

const tried = ({ cell, fleet, pace, placing }: Standing, wanted: number, say: Bench["say"]): Effect.Effect<Stage | { readonly error: string }> =>
  Effect.gen(function*() {
    const server = cell.nodes[0]!
    const before = fleet.joined()
    say("  joining")
    const joining = yield* watched(server.pid(), fleet, fleet.join(wanted - before, limits.joinMsMax))
    const joined = fleet.joined() - before
    if (joined === 0) return { error: `joining: ${fleet.failure() ?? "not one more host had joined"} after ${Math.round(joining.tookMs / 1000)} s` }
    const idle = yield* watched(server.pid(), fleet, Effect.sleep(pace.idleMs))
    const hosts = fleet.joined()
    say(`  placing on ${hosts} hosts`)
    // The line opens with its first commit, which is no delivery's cost.
    yield* placing.place(fleet.hosts.slice(0, 1), pace.perS, limits.undeliveredMsMax)
    const delivery = yield* placing.place(spread(fleet.hosts, pace.placementsMax), pace.perS, limits.undeliveredMsMax)
    const serverMemoryMib = residentMib(server.pid())
    say("  restarting the server")
    const restart = yield* restarted({ fleet, placing }, server)
    return {
      hosts,
      joinedPerS: rounded((joined / joining.tookMs) * 1000),
      admittedPerS: rounded(fleet.admittedPerS()),
      joinCpuPercent: joining.busy,
      idleCpuPercent: idle.busy,
      serverMemoryMib,
      hostProcessesMemoryMib: fleet.pids.reduce((sum, pid) => sum + residentMib(pid), 0),
      delivery: { ...delivery, perS: pace.perS },
      restart
    }
  }).pipe(Effect.catchCause((cause) => Effect.succeed({ error: `an error at ${wanted} hosts: ${Cause.pretty(cause)}` })))

/** Stops the server kindly, starts it again, and places on every host at once: each hears its own as soon as it is served again. */
const restarted = ({ fleet, placing }: Pick<Standing, "fleet" | "placing">, server: NatsServer): Effect.Effect<Stage["restart"]> =>
  Effect.gen(function*() {
    const beganMs = sharedNowMs()
    yield* server.stop
    const stopMs = sharedNowMs() - beganMs
    yield* server.restart
    const acceptsMs = sharedNowMs() - beganMs
    const again = yield* placing.place(fleet.hosts, Number.POSITIVE_INFINITY, limits.restartMsMax)
    return {
      stopMs: rounded(stopMs),
      startMs: rounded(acceptsMs - stopMs),
      appendedMs: rounded(acceptsMs + again.appendedMs),
      servedMsP50: rounded(acceptsMs + again.msP50),
      servedMsP99: rounded(acceptsMs + again.msP99),
      allServedMs: rounded(acceptsMs + again.msMax),
      unserved: again.undelivered
    }
  }).pipe(Effect.catchCause((cause) => Effect.succeed({ error: Cause.pretty(cause) })))

/** Why a stage does not count as carried. */
const overstrained = ({ fleet }: Standing, { delivery, hosts, restart, serverMemoryMib }: Stage): string | undefined => {
  const memoryMibMax = Math.round((totalmem() / 2 ** 20) * limits.memoryShareMax)
  const failure = fleet.failure()
  if (failure !== undefined) return `a host: ${failure}`
  if (delivery.undelivered > 0) return `delivery: ${delivery.undelivered} of ${delivery.placements} placements had not come ${limits.undeliveredMsMax / 1000} s after the last`
  if (delivery.msP99 > limits.deliveryMsP99Max) return `delivery: p99 is ${delivery.msP99} ms, more than ${limits.deliveryMsP99Max} ms`
  if ("error" in restart) return `restart: ${restart.error}`
  if (restart.unserved > 0) return `restart: ${restart.unserved} of ${hosts} hosts were not served again ${limits.restartMsMax / 1000} s after it`
  if (serverMemoryMib > memoryMibMax) return `memory: the server has ${serverMemoryMib} MiB, more than ${memoryMibMax} MiB`
  return undefined
}

/** Why a stage that was carried is the last one. */
const tooSlow = ({ admittedPerS, hosts, joinCpuPercent, joinedPerS }: Stage, wanted: number): string | undefined => {
  const how = `${joinedPerS} a second joined, ${admittedPerS} were admitted, with the server at ${joinCpuPercent.server} %, the processes of hosts at ${joinCpuPercent.hostProcesses} % and admission at ${joinCpuPercent.admission} % of a core`
  if (joinedPerS < limits.joinedPerSMin) return `join rate: ${how}`
  return hosts < wanted ? `join rate: ${hosts} of ${wanted} hosts had joined after ${limits.joinMsMax / 1000} s, and they are carried: ${how}` : undefined
}

/** At most so many of them, evenly from first to last. */
const spread = (hosts: ReadonlyArray<HostId>, countMax: number): ReadonlyArray<HostId> => {
  const step = Math.max(1, hosts.length / countMax)
  return Array.from({ length: Math.min(hosts.length, countMax) }, (_, index) => hosts[Math.floor(index * step)]!)
}

const watched = Effect.fnUntraced(function*<E>(serverPid: number, fleet: Fleet, work: Effect.Effect<unknown, E>) {
  const used = () => ({ atMs: sharedNowMs(), server: cpuMs([serverPid]), hostProcesses: cpuMs(fleet.pids), admission: cpuMs([process.pid]) })
  const from = used()
  yield* work
  const to = used()
  const tookMs = to.atMs - from.atMs
  const percent = (who: "server" | "hostProcesses" | "admission") => Math.round(((to[who] - from[who]) / tookMs) * 100)
  return { tookMs, busy: { server: percent("server"), hostProcesses: percent("hostProcesses"), admission: percent("admission") } }
})
