import type { AttemptId } from "@millrace/schemas"
import type { Amounts } from "./fair/amounts.ts"
import { guaranteedOf, mayDisplace, type Piece, type Rank } from "./fair/standing.ts"
import type { QuotaLedger } from "./fair/tree.ts"
import { type Candidate, cheapestSet, costOf, costOfAll } from "./fair/victims.ts"
import { gangOf } from "./gangs.ts"
import { nodeOf, priorityIn, priorityOfPlaced, takenBy } from "./quotas.ts"
import { isLost } from "./tasks.ts"
import type { HostState, JobState, TaskState, World } from "./world.ts"

/** Nothing is made to give way before it has run this long. */
export const sparedMs = 60_000
/** So many hosts are looked at for one piece of work, in the order of their ids. */
const hostsMax = 512

/** A running attempt that could give way. */
interface Yielding extends Candidate {
  readonly task: TaskState
  readonly attemptId: AttemptId
  readonly amounts: Amounts
}

/** Room that others would make: on which host, and who of them. */
export interface Made {
  readonly host: HostState
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

/** Who gives way to whom in one round. The world is not touched; what the round says is told to it. */
export class Contest {
  readonly #world: World
  readonly #atMs: number
  readonly #ends: (task: TaskState) => boolean
  /** Work that holds hosts or was placed in this round, as if it ran. */
  readonly #entered = new Map<string, Array<Piece>>()
  readonly #guaranteed = new Map<string, ReadonlySet<Piece>>()
  readonly #pieces = new Map<TaskState, Piece>()

  constructor(world: World, atMs: number, ends: (task: TaskState) => boolean) {
    this.#world = world
    this.#atMs = atMs
    this.#ends = ends
  }

  /** From here on this counts among what its workspace runs. */
  entered(job: JobState, task: number, amounts: Amounts): void {
    const piece = this.#pieceOf(job, task, amounts)
    this.#entered.set(piece.workspace, [...this.#entered.get(piece.workspace) ?? [], piece])
    this.#guaranteed.delete(piece.workspace)
  }

  /** Some of what a workspace runs was told to end. */
  yielded(workspace: string): void {
    this.#guaranteed.delete(workspace)
  }

  /** Whom to end so that a piece of work has a place, at the least loss; nobody where they are spared, stand higher or would not suffice. */
  makeRoom(wanting: Wanting, ledger: QuotaLedger): Made | undefined {
    if (!this.mightAsk(wanting.job)) return undefined
    const rank = this.#rankOf(wanting)
    if (!this.#isWorthAsking(rank)) return undefined
    let best: { readonly made: Made; readonly cost: bigint } | undefined
    for (const host of wanting.hosts.slice(0, hostsMax)) {
      const here = this.#yielding([...host.holds.values()].flatMap(({ task }) => task ?? []), rank, wanting.lookedAtMs)
      const room = cheapestSet(here, (gone) => wanting.fits(host, gone.map(({ attemptId }) => attemptId)))
      if (room === undefined || (best !== undefined && costOfAll(room) >= best.cost)) continue
      const quota = this.#makeQuota(wanting, rank, ledger, room)
      if (quota === undefined) continue
      const cost = costOfAll(room) + costOfAll(quota)
      if (best === undefined || cost < best.cost) best = { made: { host, victims: [...room, ...quota].map(({ task }) => task) }, cost }
    }
    return best?.made
  }

  /** When the first of those that could give way, but for the time that they have run, has run long enough. */
  ripeAtMs(wanting: Wanting): number | undefined {
    const rank = this.#rankOf(wanting)
    if (!this.#isWorthAsking(rank)) return undefined
    const ripe = wanting.hosts.slice(0, hostsMax).flatMap((host) =>
      this.#yielding([...host.holds.values()].flatMap(({ task }) => task ?? []), rank, Number.POSITIVE_INFINITY).map(({ task }) => task.current!.atMs + sparedMs))
      .filter((atMs) => atMs > wanting.lookedAtMs)
    return ripe.length === 0 ? undefined : Math.min(...ripe)
  }

  /** More of those that would have to end before its workspace's quota lets it in. */
  #makeQuota({ amounts, job, lookedAtMs }: Wanting, rank: Rank, ledger: QuotaLedger, room: ReadonlyArray<Yielding>): ReadonlyArray<Yielding> | undefined {
    const node = nodeOf(job.submitted!.fact.workspace)
    const sharing = new Set([node, ...ledger.borrowers(node, amounts)])
    const there = [...this.#world.index.pieces].filter(([workspace]) => sharing.has(nodeOf(workspace))).flatMap(([, tasks]) => [...tasks])
    const ending = there.filter((task) => !this.#isRunning(task)).map((task) => ({ task, amounts: takenBy(this.#world.index.ledger.tree, task.current!) }))
    const lets = (gone: ReadonlyArray<Yielding>): boolean => {
      const moved = [...ending, ...room, ...gone].map((one) => [nodeOf(one.task.current!.workspace), one.amounts] as const)
      for (const [name, held] of moved) ledger.giveBack(name, held)
      const over = ledger.over(node, amounts)
      for (const [name, held] of moved) ledger.take(name, held)
      return over === undefined
    }
    if (lets([])) return []
    const taken = new Set(room.map(({ task }) => task))
    return cheapestSet(this.#yielding(there.filter((task) => !taken.has(task)), rank, lookedAtMs), lets)
  }

  #yielding(tasks: ReadonlyArray<TaskState>, rank: Rank, byMs: number): ReadonlyArray<Yielding> {
    return tasks.flatMap((task) => {
      const { current } = task
      // Where a member gives way its whole gang does: all of it must stand lower, and all of it is lost.
      const whole = gangOf(task.job) === undefined ? [task] : [...task.job.tasks.values()].filter((one) => one.current !== undefined && this.#isRunning(one))
      if (current === undefined || !this.#isRunning(task) || current.atMs + sparedMs > byMs || !whole.every((one) => mayDisplace(rank, this.#rankIn(one)))) return []
      const { attemptId, resources: { cpuMilli, gpuMilli = 0, gpus } } = current
      return [{
        id: attemptId, task, attemptId,
        amounts: takenBy(this.#world.index.ledger.tree, current),
        cost: BigInt(whole.length) * costOf({ keptAtMs: current.atMs, nowMs: this.#atMs, gpuMilli: gpus * 1000 + gpuMilli, cpuMilli })
      }]
    })
  }

  /** Whether anybody could stand lower, before it is worked out what a workspace is due: thousands of lines ask this in a round. */
  mightAsk(job: JobState): boolean {
    const { outer, own } = priorityIn(this.#world, job)
    return this.#isWorthAsking({ outer, own, workspace: job.submitted!.fact.workspace, guaranteed: true })
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
    const piece = this.#pieceOf(job, task, amounts)
    const { own, outer, workspace } = piece
    return { own, outer, workspace, guaranteed: guaranteedOf(this.#world.index.ledger.tree, nodeOf(workspace as never), [...this.#running(workspace), piece]).has(piece) }
  }

  #rankIn(task: TaskState): Rank {
    const piece = this.#pieces.get(task) ?? this.#pieceIn(task)
    const { own, outer, workspace } = piece
    let guaranteed = this.#guaranteed.get(workspace)
    if (guaranteed === undefined) {
      guaranteed = guaranteedOf(this.#world.index.ledger.tree, nodeOf(workspace as never), this.#running(workspace))
      this.#guaranteed.set(workspace, guaranteed)
    }
    return { own, outer, workspace, guaranteed: guaranteed.has(this.#pieces.get(task)!) }
  }

  /** What runs of a workspace, with what holds hosts or was placed in this round. */
  #running(workspace: string): ReadonlyArray<Piece> {
    const tasks = [...this.#world.index.pieces.get(workspace as never) ?? []].filter((task) => this.#isRunning(task))
    return [...tasks.map((task) => this.#pieceIn(task)), ...this.#entered.get(workspace) ?? []]
  }

  #pieceIn(task: TaskState): Piece {
    const known = this.#pieces.get(task)
    if (known !== undefined) return known
    const { current, job, number } = task
    const piece = { ...priorityOfPlaced(this.#world, current!), workspace: current!.workspace, number: job.number, task: number, amounts: takenBy(this.#world.index.ledger.tree, current!) }
    this.#pieces.set(task, piece)
    return piece
  }

  #pieceOf(job: JobState, task: number, amounts: Amounts): Piece {
    return { ...priorityIn(this.#world, job), workspace: job.submitted!.fact.workspace, number: job.number, task, amounts }
  }
}
