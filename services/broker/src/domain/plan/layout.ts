import { type Amounts, type Column, type Fit, kinds, type Problem, times, type Work } from "./problem.ts"

/** One machine of a plan with what lies on it. */
export interface Machine {
  readonly column: number
  /** `room`: what is left on a machine that stays anyway. */
  readonly kind: "kept" | "fresh" | "room"
  readonly free: [number, number, number, number]
  /** Units by work. */
  readonly loads: Map<number, number>
  /** Work on it belongs to a gang that lies on other machines, too, or it is held as a buffer. */
  bound: boolean
}

/**
 * Machines and what lies on them, within stock, idle machines and limits: whatever is done to it, it never breaks one of them. Both the greedy
 * choice and the solver's answer are laid out here, so both keep the same rules.
 */
export class Layout {
  readonly problem: Problem
  readonly machines = new Set<Machine>()
  readonly kept: Int32Array
  readonly fresh: Int32Array
  /** Items placed, by work; GPUs where the work is a buffer. */
  readonly placed: Float64Array
  readonly #onColumn: Array<Set<Machine>>
  readonly #used: Float64Array
  readonly #items: Map<number, number> = new Map()
  #extra = 0

  constructor(problem: Problem) {
    this.problem = problem
    this.kept = new Int32Array(problem.columns.length)
    this.fresh = new Int32Array(problem.columns.length)
    this.placed = new Float64Array(problem.works.length)
    this.#used = new Float64Array(problem.limits.length)
    this.#onColumn = problem.columns.map(() => new Set())
    for (const column of problem.columns) for (const free of column.rooms) this.#add({ column: column.at, kind: "room", free: [...free], loads: new Map(), bound: false })
  }

  /** How many more machines of a column may be had. */
  openable(at: number): number {
    const { idle, stock } = this.problem.columns[at]!
    let most = idle + stock - this.kept[at]! - this.fresh[at]!
    for (const limit of this.problem.limitsOf[at]!) {
      const { most: bound, weight } = this.problem.limits[limit]!
      most = Math.min(most, Math.floor((bound - this.#used[limit]!) / weight(this.problem.columns[at]!) + 1e-9))
    }
    return Math.max(0, most)
  }

  /** What the next machine of a column counts for. */
  nextCost(at: number): number {
    const column = this.problem.columns[at]!
    return this.kept[at]! < column.idle ? column.keptCost : column.freshCost
  }

  open(at: number): Machine | undefined {
    if (this.openable(at) <= 0) return undefined
    const column = this.problem.columns[at]!
    const kind = this.kept[at]! < column.idle ? "kept" : "fresh"
    const machine: Machine = { column: at, kind, free: [...column.has], loads: new Map(), bound: false }
    this.#count(machine, 1)
    this.#add(machine)
    return machine
  }

  close(machine: Machine): void {
    this.machines.delete(machine)
    this.#onColumn[machine.column]!.delete(machine)
    this.#count(machine, -1)
  }

  on(at: number): ReadonlySet<Machine> {
    return this.#onColumn[at]!
  }

  /** Lays units onto a machine, as many as fit; answers how many. */
  put(machine: Machine, work: Work, units: number): number {
    const count = Math.min(units, times(work.needs, machine.free))
    if (count > 0) this.#move(machine, work, count)
    return Math.max(0, count)
  }

  take(machine: Machine, work: Work, units: number): void {
    this.#move(machine, work, -units)
  }

  /** Places items of a work on one column: on what is open there first, then on new machines where allowed. Answers how many. */
  place(work: Work, fit: Fit, items: number, mayOpen: boolean): number {
    if (work.whole) return this.#hold(work, fit, items, mayOpen)
    let placed = 0
    if (work.members === 1) {
      for (const machine of this.#fullestFirst(fit.column, work)) {
        if (placed >= items) break
        placed += this.put(machine, work, items - placed)
      }
      while (mayOpen && placed < items) {
        const machine = this.open(fit.column)
        if (machine === undefined) break
        const put = this.put(machine, work, items - placed)
        placed += put
        if (put === 0) {
          this.close(machine)
          break
        }
      }
    } else while (placed < items && this.#gather(work, fit, mayOpen)) placed += 1
    this.settled(work, fit, placed)
    return placed
  }

  /** New machines that a gang would need on a column beside what is open there. Undefined: it cannot be. */
  newFor(work: Work, fit: Fit): number | undefined {
    const each = times(work.needs, this.problem.columns[fit.column]!.has)
    let missing = work.members
    for (const machine of this.on(fit.column)) {
      const room = machine.bound && work.whole ? 0 : times(work.needs, machine.free)
      if (fit.together ? room >= work.members : true) missing -= fit.together ? work.members : room
      if (missing <= 0) return 0
    }
    const more = fit.together ? 1 : Math.ceil(missing / Math.max(1, each))
    return more <= this.openable(fit.column) && (!fit.together || each >= work.members) ? more : undefined
  }

  /** Items of a work that lie on a column. */
  itemsOn(work: Work, at: number): number {
    return this.#items.get(this.#key(work, at)) ?? 0
  }

  cost(): number {
    const { columns, works } = this.problem
    let sum = this.#extra
    for (const { at, freshCost, keptCost } of columns) sum += this.kept[at]! * keptCost + this.fresh[at]! * freshCost
    for (const work of works) sum += Math.max(0, work.items - this.placed[work.at]!) * work.unmetCost
    return sum
  }

  /** A single item moved from one column to another. */
  moved(work: Work, from: number, to: number, units: number): void {
    this.#countItems(work, from, -units)
    this.#countItems(work, to, units)
  }

  limitUsed(limit: number): number {
    return this.#used[limit]!
  }

  #key(work: Work, at: number): number {
    return work.at * this.problem.columns.length + at
  }

  #countItems(work: Work, at: number, items: number): void {
    this.#items.set(this.#key(work, at), this.itemsOn(work, at) + items)
    this.#extra += items * (work.fitOn.get(at)?.extra ?? 0)
  }

  #add(machine: Machine): void {
    this.machines.add(machine)
    this.#onColumn[machine.column]!.add(machine)
  }

  #count(machine: Machine, by: 1 | -1): void {
    const { columns, limits, limitsOf } = this.problem
    if (machine.kind === "kept") this.kept[machine.column]! += by
    else if (machine.kind === "fresh") this.fresh[machine.column]! += by
    for (const limit of limitsOf[machine.column]!) this.#used[limit]! += by * limits[limit]!.weight(columns[machine.column]!)
  }

  #move(machine: Machine, work: Work, units: number): void {
    for (const kind of kinds) machine.free[kind] -= work.needs[kind] * units
    const now = (machine.loads.get(work.at) ?? 0) + units
    if (now === 0) machine.loads.delete(work.at)
    else machine.loads.set(work.at, now)
  }

  /** Counts items whose units were put onto machines of a column. */
  settled(work: Work, fit: Fit, items: number): void {
    if (items === 0) return
    this.placed[work.at]! += work.whole ? items * this.problem.columns[fit.column]!.gpus : items
    this.#countItems(work, fit.column, items)
  }

  #fullestFirst(at: number, work: Work): ReadonlyArray<Machine> {
    return [...this.on(at)].filter(({ bound, free, loads }) => !(bound && loads.size === 0) && times(work.needs, free) > 0).sort((a, b) => a.free[0] - b.free[0] || a.free[1] - b.free[1])
  }

  /** Keeps whole machines in hand: empty ones that are open first. */
  #hold(work: Work, fit: Fit, gpus: number, mayOpen: boolean): number {
    const { at, gpus: each } = this.problem.columns[fit.column]!
    let machines = 0
    let held = 0
    const hold = (machine: Machine): void => {
      machine.bound = true
      machine.free.fill(0)
      machines += 1
      held += each
    }
    for (const machine of this.on(at)) if (held < gpus && machine.kind !== "room" && machine.loads.size === 0 && !machine.bound) hold(machine)
    while (mayOpen && held < gpus) {
      const machine = this.open(at)
      if (machine === undefined) break
      hold(machine)
    }
    this.settled(work, fit, machines)
    return held
  }

  /** All members of one gang on one column, or nothing. */
  #gather(work: Work, fit: Fit, mayOpen: boolean): boolean {
    const put: Array<readonly [Machine, number]> = []
    const opened: Array<Machine> = []
    let missing = work.members
    const onto = (machine: Machine): void => {
      if (fit.together && times(work.needs, machine.free) < work.members) return
      const units = this.put(machine, work, missing)
      if (units > 0) put.push([machine, units])
      missing -= units
    }
    for (const machine of this.#fullestFirst(fit.column, work).toReversed()) if (missing > 0) onto(machine)
    while (missing > 0 && mayOpen) {
      const machine = this.open(fit.column)
      if (machine === undefined) break
      opened.push(machine)
      const before = missing
      onto(machine)
      if (missing === before) break
    }
    if (missing > 0) {
      for (const [machine, units] of put) this.take(machine, work, units)
      for (const machine of opened) this.close(machine)
      return false
    }
    for (const [machine] of put) machine.bound = true
    return true
  }
}

/** Whether everything on a machine could lie on an empty one of another column. */
export const holds = (column: Column, loads: ReadonlyMap<number, number>, works: ReadonlyArray<Work>): boolean => {
  const sum: [number, number, number, number] = [0, 0, 0, 0]
  for (const [at, units] of loads) for (const kind of kinds) sum[kind] += works[at]!.needs[kind] * units
  return kinds.every((kind) => sum[kind] <= (column.has as Amounts)[kind])
}
