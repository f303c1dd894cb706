import type { AttemptId } from "@millrace/schemas"
import { type Amounts, multiplied } from "./fair/amounts.ts"
import { InOrder } from "./fair/in-order.ts"
import { mayDisplace, mightBeGuaranteed, type Piece, type Rank } from "./fair/standing.ts"
import type { QuotaLedger } from "./fair/tree.ts"
import { type Candidate, cheapestSet, costOf, costOfAll } from "./fair/victims.ts"
import { gangOf } from "./gangs.ts"
import { nodeOf, priorityIn, priorityOfPlaced, takenBy } from "./quotas.ts"
import { keptAtMs } from "./snapshots.ts"
import { isLost } from "./tasks.ts"
import type { HostState, JobState, Placed, TaskState, World } from "./world.ts"

/** Nothing is made to give way before it has run this long. */
export const sparedMs = 60_000
/** So many hosts are looked at for one piece of work, in the order of their ids. */
const hostsMax = 512

/** What could give way: a running attempt, or all members of a gang that run. */
interface Yielding extends Candidate {
  readonly tasks: ReadonlyArray<TaskState>
}

/** Room that others would make: on which hosts, and who of them. */
export interface Made {
  readonly hosts: ReadonlyArray<HostState>
  readonly victims: ReadonlyArray<TaskState>
}

/** Work that has no place, and where it could have one. */
export interface Wanting {
  readonly job: JobState
  readonly task: number
  readonly amounts: Amounts
  /** The hosts that would take it if they were empty, those that are held for others left out. */
  readonly hosts: ReadonlyArray<HostState>
  readonly fits: (host: HostState, gone: ReadonlyArray<AttemptId>) => boolean
  /** What had begun by this moment may have run long enough. */
  readonly lookedAtMs: number
}

/** A gang that has no place. Either all of it has one in the end, or nobody gives way to it. */
export interface WantingWhole extends Pick<Wanting, "job" | "amounts" | "lookedAtMs"> {
  readonly members: number
  /** Hosts that share what its members must share, those that are held for others left out. */
  readonly domains: ReadonlyArray<ReadonlyArray<HostState>>
  /** How many members a host has room for without some of what it holds. */
  readonly roomFor: (host: HostState, gone: ReadonlyArray<AttemptId>) => number
}

/** A piece, and whose attempt it is where it runs. */
interface Standing extends Piece {
  readonly of?: TaskState
}

/** Who gives way to whom in one round. The world is not touched; what the round says is told to it. */
export class Contest {
  readonly #world: World
  readonly #atMs: number
  readonly #ends: (task: TaskState) => boolean
  readonly #ending: () => number
  /** Work that holds hosts or was placed in this round, as if it ran. */
  readonly #entered = new Map<string, Array<Standing>>()
  readonly #pieces = new Map<TaskState, Standing>()
  /** What of a workspace runs or has entered, and how many were told to end when that was looked at. */
  readonly #running = new Map<string, { readonly inOrder: InOrder<Standing>; ending: number }>()

  /** `ending` is how many `ends` tells of so far: of each it goes on telling. */
  constructor(world: World, atMs: number, { ending, ends }: { readonly ends: (task: TaskState) => boolean; readonly ending: () => number }) {
    this.#world = world
    this.#atMs = atMs
    this.#ends = ends
    this.#ending = ending
  }

  /** From here on this counts among what its workspace runs. */
  entered(job: JobState, task: number, amounts: Amounts): void {
    const piece = this.#pieceOf(job, task, amounts)
    const entered = this.#entered.get(piece.workspace)
    if (entered === undefined) this.#entered.set(piece.workspace, [piece])
    else entered.push(piece)
    this.#running.get(piece.workspace)?.inOrder.add(piece)
  }

  /** Whom to end so that a piece of work has a place, at the least loss; nobody where they are spared, stand higher or would not suffice. */
  makeRoom(wanting: Wanting, ledger: QuotaLedger): Made | undefined {
    if (!this.mightAsk(wanting.job)) return undefined
    const rank = this.#rankOf(wanting)
    if (!this.#isWorthAsking(rank)) return undefined
    let best: Bid | undefined
    for (const host of wanting.hosts.slice(0, hostsMax)) {
      const here = this.#yielding(tasksOn([host]), rank, wanting.lookedAtMs)
      const room = cheapestSet(here, (gone) => wanting.fits(host, attemptsOf(gone)))
      best = this.#cheaper(best, [host], wanting, 1, rank, ledger, room)
    }
    return best?.made
  }

  /** Whom to end so that all of a gang has a place in one domain, at the least loss; nobody where it would not be all of it. */
  makeWholeRoom(wanting: WantingWhole, ledger: QuotaLedger): Made | undefined {
    if (!this.mightAsk(wanting.job)) return undefined
    const rank = this.#rankOfWhole(wanting)
    if (!this.#isWorthAsking(rank)) return undefined
    let best: Bid | undefined
    for (const domain of wanting.domains) {
      const room = new RoomOf(domain, wanting.roomFor)
      const here = this.#yielding(tasksOn(room.hosts), rank, wanting.lookedAtMs)
      const gone = cheapestSet(here, (gone) => room.without(gone) >= wanting.members)
      best = this.#cheaper(best, gone === undefined ? [] : room.enoughFor(wanting.members, gone), wanting, wanting.members, rank, ledger, gone)
    }
    return best?.made
  }

  /** The better of two ways to make room, with those that would have to end for its workspace's quota too. */
  #cheaper(best: Bid | undefined, hosts: ReadonlyArray<HostState>, wanting: Pick<Wanting, "amounts" | "job" | "lookedAtMs">, times: number, rank: Rank, ledger: QuotaLedger, room: ReadonlyArray<Yielding> | undefined): Bid | undefined {
    if (room === undefined || (best !== undefined && costOfAll(room) >= best.cost)) return best
    const quota = this.#makeQuota(wanting, times, rank, ledger, room)
    if (quota === undefined) return best
    const cost = costOfAll(room) + costOfAll(quota)
    return best !== undefined && cost >= best.cost ? best : { made: { hosts, victims: [...room, ...quota].flatMap(({ tasks }) => tasks) }, cost }
  }

  /** When the first of those that could give way, but for the time that they have run, has run long enough. */
  ripeAtMs(wanting: Wanting): number | undefined {
    return this.#ripeAtMs(this.#rankOf(wanting), wanting.hosts.slice(0, hostsMax), wanting.lookedAtMs)
  }

  ripeWholeAtMs(wanting: WantingWhole): number | undefined {
    return this.#ripeAtMs(this.#rankOfWhole(wanting), wanting.domains.flatMap((domain) => domain.slice(0, hostsMax)), wanting.lookedAtMs)
  }

  #ripeAtMs(rank: Rank, hosts: ReadonlyArray<HostState>, lookedAtMs: number): number | undefined {
    if (!this.#isWorthAsking(rank)) return undefined
    let first: number | undefined
    for (const { tasks } of this.#yielding(tasksOn(hosts), rank, Number.POSITIVE_INFINITY)) {
      const ripe = Math.max(...tasks.map(({ current }) => current!.atMs)) + sparedMs
      if (ripe > lookedAtMs && (first === undefined || ripe < first)) first = ripe
    }
    return first
  }

  /** More of those that would have to end before its workspace's quota lets so many pieces in. */
  #makeQuota({ amounts, job, lookedAtMs }: Pick<Wanting, "amounts" | "job" | "lookedAtMs">, times: number, rank: Rank, ledger: QuotaLedger, room: ReadonlyArray<Yielding>): ReadonlyArray<Yielding> | undefined {
    const node = nodeOf(job.submitted!.fact.workspace)
    const all = multiplied(amounts, times)
    // Most often there is room already: then nobody need be looked at, and what ends leaves more.
    if (ledger.over(node, all) === undefined) return []
    const sharing = new Set([node, ...ledger.borrowers(node, all)])
    const there = [...this.#world.index.pieces].filter(([workspace]) => sharing.has(nodeOf(workspace))).flatMap(([, tasks]) => [...tasks])
    const ending = there.filter((task) => !this.#isRunning(task))
    const lets = (gone: ReadonlyArray<Yielding>): boolean => {
      const moved = [...ending, ...[...room, ...gone].flatMap(({ tasks }) => tasks)].map(({ current }) => [nodeOf(current!.workspace), takenBy(this.#world.index.ledger.tree, current!)] as const)
      for (const [name, held] of moved) ledger.giveBack(name, held)
      const over = ledger.over(node, all)
      for (const [name, held] of moved) ledger.take(name, held)
      return over === undefined
    }
    if (lets([])) return []
    const taken = new Set(room.flatMap(({ tasks }) => tasks))
    return cheapestSet(this.#yielding(there.filter((task) => !taken.has(task)), rank, lookedAtMs), lets)
  }

  /** Where a member gives way its whole gang does: all of it must stand lower and have run long enough, and all of it is lost. */
  #yielding(tasks: ReadonlyArray<TaskState>, rank: Rank, byMs: number): ReadonlyArray<Yielding> {
    const gangs = new Set<JobState>()
    return tasks.flatMap((task): ReadonlyArray<Yielding> => {
      const { current, job } = task
      if (current === undefined || !this.#isRunning(task) || gangs.has(job)) return []
      if (gangOf(job) !== undefined) gangs.add(job)
      const whole = gangOf(job) === undefined ? [task] : [...job.tasks.values()].filter((one) => one.current !== undefined && this.#isRunning(one))
      if (!whole.every((one) => one.current!.atMs + sparedMs <= byMs && mayDisplace(rank, this.#rankIn(one)))) return []
      return [{ id: current.attemptId, tasks: whole, cost: whole.reduce((sum, one) => sum + this.#costOf(one.current!), 0n) }]
    })
  }

  /** What its end throws away: what was kept of it is there for its next attempt. */
  #costOf(placed: Placed): bigint {
    const { cpuMilli, gpuMilli = 0, gpus } = placed.resources
    return costOf({ keptAtMs: keptAtMs(this.#world, placed), nowMs: this.#atMs, gpuMilli: gpus * 1000 + gpuMilli, cpuMilli })
  }

  /** Whether anybody could stand lower, before it is worked out what a workspace is due: thousands of lines ask this in a round. */
  mightAsk(job: JobState): boolean {
    const { outer, own } = priorityIn(this.#world, job)
    const { workspace } = job.submitted!.fact
    return this.#isWorthAsking({ outer, own, workspace, guaranteed: mightBeGuaranteed(this.#world.index.ledger.tree, nodeOf(workspace)) })
  }

  /** Most cells most of the time: nobody here stands lower, and no host need be looked at. */
  #isWorthAsking(rank: Rank): boolean {
    for (const [workspace, urgencies] of this.#world.index.urgencies) {
      for (const urgency of urgencies.keys()) {
        const { outer, own } = priorityOfPlaced(this.#world, { urgency, workspace })
        if (workspace === rank.workspace ? own < rank.own : rank.guaranteed || outer < rank.outer) return true
      }
    }
    return false
  }

  #isRunning(task: TaskState): boolean {
    return task.withdrawn === undefined && !this.#ends(task) && !isLost(this.#world, task)
  }

  #rankOf({ amounts, job, task }: Wanting): Rank {
    return this.#rankOfAll([this.#pieceOf(job, task, amounts)])
  }

  #rankOfWhole({ amounts, job, members }: WantingWhole): Rank {
    return this.#rankOfAll(Array.from({ length: members }, (_, rank) => this.#pieceOf(job, rank, amounts)))
  }

  /** Pieces that begin together stand where the lowest of them would. */
  #rankOfAll(pieces: ReadonlyArray<Piece>): Rank {
    const { own, outer, workspace } = pieces[0]!
    return { own, outer, workspace, guaranteed: this.#runningOf(workspace).wouldCarry(pieces) }
  }

  #rankIn(task: TaskState): Rank {
    const piece = this.#pieceIn(task)
    const { own, outer, workspace } = piece
    return { own, outer, workspace, guaranteed: this.#runningOf(workspace).isCarried(piece) }
  }

  /** What runs of a workspace, with what holds hosts or was placed in this round. */
  #runningOf(workspace: string): InOrder<Standing> {
    const ending = this.#ending()
    const known = this.#running.get(workspace)
    if (known !== undefined) {
      if (known.ending !== ending) known.inOrder.keep(({ of }) => of === undefined || this.#isRunning(of))
      known.ending = ending
      return known.inOrder
    }
    const inOrder = new InOrder<Standing>(this.#world.index.ledger.tree, nodeOf(workspace as never), () => {
      const tasks = [...this.#world.index.pieces.get(workspace as never) ?? []].filter((task) => this.#isRunning(task))
      return [...tasks.map((task) => this.#pieceIn(task)), ...this.#entered.get(workspace) ?? []]
    })
    this.#running.set(workspace, { inOrder, ending })
    return inOrder
  }

  #pieceIn(task: TaskState): Standing {
    const known = this.#pieces.get(task)
    if (known !== undefined) return known
    const { current, job, number } = task
    const piece = { ...priorityOfPlaced(this.#world, current!), workspace: current!.workspace, number: job.number, task: number, amounts: takenBy(this.#world.index.ledger.tree, current!), of: task }
    this.#pieces.set(task, piece)
    return piece
  }

  #pieceOf(job: JobState, task: number, amounts: Amounts): Standing {
    return { ...priorityIn(this.#world, job), workspace: job.submitted!.fact.workspace, number: job.number, task, amounts }
  }
}

interface Bid {
  readonly made: Made
  readonly cost: bigint
}

const tasksOn = (hosts: ReadonlyArray<HostState>): ReadonlyArray<TaskState> => hosts.flatMap((host) => [...host.holds.values()].flatMap(({ task }) => task ?? []))

const attemptsOf = (gone: ReadonlyArray<Yielding>): ReadonlyArray<AttemptId> => gone.flatMap(({ tasks }) => tasks.map(({ current }) => current!.attemptId))

/** What ends on each host, by the host's id. */
const byHost = (gone: ReadonlyArray<Yielding>): ReadonlyMap<string, ReadonlyArray<AttemptId>> => {
  const hosts = new Map<string, Array<AttemptId>>()
  for (const { tasks } of gone) {
    for (const { current } of tasks) {
      const here = hosts.get(current!.hostId)
      if (here === undefined) hosts.set(current!.hostId, [current!.attemptId])
      else here.push(current!.attemptId)
    }
  }
  return hosts
}

/** How many members the hosts of one domain have room for, as this or that ends. The roomiest are looked at; of equals in their order. */
class RoomOf {
  readonly hosts: ReadonlyArray<HostState>
  readonly #roomFor: WantingWhole["roomFor"]
  readonly #byId: ReadonlyMap<string, HostState>
  readonly #known = new Map<string, number>()
  readonly #free: number

  constructor(domain: ReadonlyArray<HostState>, roomFor: WantingWhole["roomFor"]) {
    this.#roomFor = roomFor
    const roomiest = domain.map((host) => ({ host, free: this.#on(host, []) })).sort((left, right) => right.free - left.free).slice(0, hostsMax)
    this.hosts = roomiest.map(({ host }) => host)
    this.#byId = new Map(this.hosts.map((host) => [host.id, host]))
    this.#free = roomiest.reduce((sum, { free }) => sum + free, 0)
  }

  without(gone: ReadonlyArray<Yielding>): number {
    let room = this.#free
    for (const [id, attempts] of byHost(gone)) {
      const host = this.#byId.get(id)
      if (host !== undefined) room += this.#on(host, attempts) - this.#on(host, [])
    }
    return room
  }

  /** As many hosts as it takes: those on which somebody ends, then the others, the roomiest first. */
  enoughFor(members: number, gone: ReadonlyArray<Yielding>): ReadonlyArray<HostState> {
    const ending = byHost(gone)
    const chosen: Array<HostState> = []
    let room = 0
    for (const host of [...this.hosts.filter(({ id }) => ending.has(id)), ...this.hosts.filter(({ id }) => !ending.has(id))]) {
      if (room >= members) break
      const here = this.#on(host, ending.get(host.id) ?? [])
      if (here === 0) continue
      chosen.push(host)
      room += here
    }
    return chosen
  }

  #on(host: HostState, gone: ReadonlyArray<AttemptId>): number {
    const key = [host.id, ...[...gone].sort()].join()
    const room = this.#known.get(key) ?? this.#roomFor(host, gone)
    this.#known.set(key, room)
    return room
  }
}
