import { type Amounts, type Dimension, noAmounts, shift } from "./amounts.ts"

/** How much of one dimension belongs to a node, and how far it borrows and lends. */
export interface Limit {
  readonly nominal: number
  /** The most it takes beyond its own; without it as much as others leave. */
  readonly borrowingMax?: number | undefined
  /** The most of its own that others may take while it lies idle; without it all. */
  readonly lendingMax?: number | undefined
}

/** A workspace, or a cohort of those that share. Names of cohorts and workspaces are apart: `cohort/x`, `workspace/x`. */
export interface QuotaNode {
  readonly name: string
  readonly parent: string | undefined
  /** How many parts of what is shared it is due, against its siblings. */
  readonly weight: number
  readonly limits: ReadonlyMap<Dimension, Limit>
}

const noLimit: Limit = { nominal: 0 }

/**
 * Who shares with whom. A node's own quota and what its children lend to it are one pool; a child takes from
 * its own first and then from the pool above, as far as its borrowing goes. What a child does not lend stays
 * out of the pool. A dimension is limited for a whole tree as soon as one node of it names it.
 *
 * A parent that nobody has described is a pool of nothing of its own, so the order of describing does not matter;
 * and a chain that comes back to itself is cut above the first of its names, so that every chain ends.
 */
export class QuotaTree {
  readonly #nodes: ReadonlyMap<string, QuotaNode>
  readonly #parentOf = new Map<string, string>()
  readonly #pathOf = new Map<string, ReadonlyArray<string>>()
  readonly #children = new Map<string, Array<string>>()
  readonly #limited = new Map<string, ReadonlySet<Dimension>>()
  readonly #pool = new Map<string, number>()

  constructor(nodes: Iterable<QuotaNode> = []) {
    this.#nodes = new Map([...nodes].map((node) => [node.name, node]))
    for (const { name, parent } of this.#nodes.values()) if (parent !== undefined) this.#parentOf.set(name, parent)
    for (const name of [...this.#nodes.keys()].sort()) if (this.#comesBackTo(name)) this.#parentOf.delete(name)
    for (const [child, parent] of this.#parentOf) this.#children.set(parent, [...this.#children.get(parent) ?? [], child])
    for (const name of new Set([...this.#nodes.keys(), ...this.#children.keys()])) this.#pathOf.set(name, this.#climb(name))
    const limited = new Map<string, Set<Dimension>>()
    for (const { limits, name } of this.#nodes.values()) {
      const root = this.path(name).at(-1)!
      const set = limited.get(root) ?? new Set()
      for (const dimension of limits.keys()) set.add(dimension)
      limited.set(root, set)
    }
    for (const [root, set] of limited) this.#limited.set(root, set)
  }

  /** Whether anything is said of a node. */
  has(name: string): boolean {
    return this.#nodes.has(name)
  }

  get names(): ReadonlyArray<string> {
    return [...this.#pathOf.keys()].sort()
  }

  weightOf(name: string): number {
    return this.#nodes.get(name)?.weight ?? 1
  }

  /** The node and those above it, itself first. One that is in no tree stands alone. */
  path(name: string): ReadonlyArray<string> {
    return this.#pathOf.get(name) ?? [name]
  }

  /** Every dimension that some node limits. */
  get dimensions(): ReadonlyArray<Dimension> {
    return [...new Set([...this.#limited.values()].flatMap((set) => [...set]))].sort()
  }

  childrenOf(name: string): ReadonlyArray<string> {
    return this.#children.get(name) ?? []
  }

  limitOf(name: string, dimension: Dimension): Limit {
    return this.#nodes.get(name)?.limits.get(dimension) ?? noLimit
  }

  /** The dimensions that are limited for a node. Of others it takes what there is. */
  limitedFor(name: string): ReadonlySet<Dimension> {
    return this.#limited.get(this.path(name).at(-1)!) ?? none
  }

  /** All that a node can give to itself and to those below it: its own, and what its children lend. */
  pool(name: string, dimension: Dimension): number {
    const key = `${name} ${dimension}`
    const known = this.#pool.get(key)
    if (known !== undefined) return known
    const pool = this.childrenOf(name).reduce((all, child) => all + this.pool(child, dimension) - this.kept(child, dimension), this.limitOf(name, dimension).nominal)
    this.#pool.set(key, pool)
    return pool
  }

  /** What a node never lends. */
  kept(name: string, dimension: Dimension): number {
    const { lendingMax } = this.limitOf(name, dimension)
    return lendingMax === undefined ? 0 : Math.max(0, this.pool(name, dimension) - lendingMax)
  }

  #climb(name: string): ReadonlyArray<string> {
    const path = [name]
    for (let above = this.#parentOf.get(name); above !== undefined; above = this.#parentOf.get(above)) path.push(above)
    return path
  }

  #comesBackTo(name: string): boolean {
    const seen = new Set<string>()
    for (let above = this.#parentOf.get(name); above !== undefined && !seen.has(above); above = this.#parentOf.get(above)) {
      if (above === name) return true
      seen.add(above)
    }
    return false
  }
}

const none: ReadonlySet<Dimension> = new Set()

/** A part of some work that a quota does not let through, with the arithmetic. */
export interface OverQuota {
  readonly node: string
  readonly dimension: Dimension
  readonly needs: number
  readonly available: number
  readonly used: number
  readonly nominal: number
}

/**
 * What each node of a tree has taken, counted where it stands. Of what a node has taken, only what goes
 * beyond its kept part is taken from the pool above it; so a node's count is a function of what its leaves
 * hold, whatever the order in which they took it, and giving back is the exact inverse of taking.
 */
export class QuotaLedger {
  readonly tree: QuotaTree
  /** All that is held by a node and those below it, borrowed or not. */
  readonly #held = new Map<string, Map<Dimension, number>>()
  /** What is taken from the pool of each node, by dimension. */
  readonly #taken = new Map<string, Map<Dimension, number>>()

  constructor(tree: QuotaTree, held: Iterable<readonly [name: string, amounts: Amounts]> = []) {
    this.tree = tree
    for (const [name, amounts] of held) this.take(name, amounts)
  }

  taken(name: string, dimension: Dimension): number {
    return this.#taken.get(name)?.get(dimension) ?? 0
  }

  held(name: string): Amounts {
    return this.#held.get(name) ?? noAmounts
  }

  take(name: string, amounts: Amounts): void {
    for (const [dimension, amount] of amounts) this.#move(name, dimension, amount)
  }

  giveBack(name: string, amounts: Amounts): void {
    for (const [dimension, amount] of amounts) this.#move(name, dimension, -amount)
  }

  /** What a node can still take: of its own and of what the pools above it leave. Below 0 where limits were lowered under work that runs. */
  available(name: string, dimension: Dimension): number {
    return this.#available(this.tree.path(name), 0, dimension)
  }

  /** The first thing of which there is not enough, in the order of dimensions. */
  over(name: string, amounts: Amounts): OverQuota | undefined {
    for (const dimension of this.tree.limitedFor(name)) {
      const needs = amounts.get(dimension) ?? 0
      if (needs === 0) continue
      const available = this.available(name, dimension)
      if (needs > available) return { node: name, dimension, needs, available, used: this.taken(name, dimension), nominal: this.tree.limitOf(name, dimension).nominal }
    }
    return undefined
  }

  /** How much of a dimension a node has taken that is not its own. */
  borrowed(name: string, dimension: Dimension): number {
    return Math.max(0, this.taken(name, dimension) - this.tree.pool(name, dimension))
  }

  /** Those below one root that have taken what is not theirs, of dimensions that are asked for: who gives back when an owner asks. */
  borrowers(name: string, amounts: Amounts): ReadonlyArray<string> {
    const { tree } = this
    const root = tree.path(name).at(-1)
    const limited = [...tree.limitedFor(name)].filter((dimension) => (amounts.get(dimension) ?? 0) > 0)
    return tree.names.filter((other) => other !== name && tree.path(other).at(-1) === root && tree.childrenOf(other).length === 0 && limited.some((dimension) => this.borrowed(other, dimension) > 0))
  }

  #available(path: ReadonlyArray<string>, at: number, dimension: Dimension): number {
    const name = path[at]!
    const pool = this.tree.pool(name, dimension)
    const taken = this.taken(name, dimension)
    if (at === path.length - 1) return pool - taken
    const kept = this.tree.kept(name, dimension)
    const ownLeft = Math.max(0, kept - taken)
    const above = this.#available(path, at + 1, dimension)
    const { borrowingMax } = this.tree.limitOf(name, dimension)
    if (borrowingMax === undefined) return ownLeft + above
    const lent = pool - kept
    const takenAbove = Math.max(0, taken - kept)
    return ownLeft + Math.min(above, lent - takenAbove + borrowingMax)
  }

  #move(name: string, dimension: Dimension, amount: number): void {
    for (const node of this.tree.path(name)) shift(amountsIn(this.#held, node), dimension, amount)
    let by = amount
    for (const node of this.tree.path(name)) {
      if (by === 0) return
      const before = this.taken(node, dimension)
      shift(amountsIn(this.#taken, node), dimension, by)
      const kept = this.tree.kept(node, dimension)
      by = Math.max(0, before + by - kept) - Math.max(0, before - kept)
    }
  }
}

const amountsIn = (by: Map<string, Map<Dimension, number>>, name: string): Map<Dimension, number> => {
  const known = by.get(name)
  if (known !== undefined) return known
  const amounts = new Map<Dimension, number>()
  by.set(name, amounts)
  return amounts
}
