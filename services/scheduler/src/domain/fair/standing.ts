import type { Amounts, Dimension } from "./amounts.ts"
import type { Priority } from "./priority.ts"
import type { QuotaTree } from "./tree.ts"

/** One piece of running or waiting work, as far as it matters who gives way. */
export interface Piece extends Priority {
  readonly workspace: string
  /** Its place among the work of its workspace: who came first, and within a job which task. */
  readonly number: number
  readonly task: number
  readonly amounts: Amounts
}

/** Where a piece stands when there is not enough for all. */
export interface Rank extends Priority {
  readonly workspace: string
  /** It lies within what its workspace's quota gives for certain. */
  readonly guaranteed: boolean
}

/** In its own workspace the more urgent comes first, then the older. */
export const ownOrder = (left: Pick<Piece, "own" | "number" | "task">, right: Pick<Piece, "own" | "number" | "task">): number =>
  right.own - left.own || left.number - right.number || left.task - right.task

/** Whether a workspace's quota gives anything for certain. */
export const mightBeGuaranteed = (tree: QuotaTree, node: string): boolean => [...tree.limitedFor(node)].some((dimension) => tree.limitOf(node, dimension).nominal > 0)

/**
 * Which of a workspace's pieces its nominal quota carries: in their own order, each that still fits into what those
 * before it left. One that does not fit takes nothing away from those behind it. Work that uses nothing of what is
 * limited has no guarantee: nobody gave any.
 */
export const guaranteedOf = <P extends Piece>(tree: QuotaTree, node: string, pieces: ReadonlyArray<P>): ReadonlySet<P> => {
  const limited = [...tree.limitedFor(node)]
  const guaranteed = new Set<P>()
  if (!mightBeGuaranteed(tree, node)) return guaranteed
  const left = new Map<Dimension, number>(limited.map((dimension) => [dimension, tree.limitOf(node, dimension).nominal]))
  for (const piece of [...pieces].sort(ownOrder)) {
    const used = limited.filter((dimension) => (piece.amounts.get(dimension) ?? 0) > 0)
    if (used.length === 0 || used.some((dimension) => piece.amounts.get(dimension)! > left.get(dimension)!)) continue
    for (const dimension of used) left.set(dimension, left.get(dimension)! - piece.amounts.get(dimension)!)
    guaranteed.add(piece)
  }
  return guaranteed
}

/**
 * Whether one piece may have another end to take its room.
 *
 * In one workspace the more urgent may, by what it said of itself, unless it would displace guaranteed work for
 * work that is not. Between workspaces guaranteed work is never touched; what is not gives way to guaranteed work,
 * and to what counts as more urgent to all.
 *
 * It ends: nobody can be displaced for ever. Order all pieces by (guaranteed, outer, own, age). Whoever may displace
 * another stands before it in this order: within a workspace `own` is greater and so `outer` is not less, and
 * `guaranteed` is not less by the rule; between workspaces `guaranteed` is greater, or equal and `outer` is greater.
 * List the running pieces by that order, the first first. When a piece begins, what stood before it stays where it was:
 * a guaranteed piece takes its quota only from those of its workspace that come after it, one that is not takes none,
 * and those that gave way to it stood behind it, so what their end leaves helps only such as stand behind it too. So
 * every beginning makes the list greater, word by word, and there are finitely many lists of the same pieces: without
 * new work and without ends of its own accord, displacing comes to rest. In particular none displaces its displacer back.
 *
 * A gang begins as all of its pieces at once, and stands where the lowest of them would: so each of them stands before
 * everybody who gives way to it, and the first place where the list changes holds one of them. A gang gives way whole,
 * and only where all of its pieces stand lower than who begins: each of them may stand behind, so all that goes does.
 */
export const mayDisplace = (one: Rank, other: Rank): boolean =>
  one.workspace === other.workspace
    ? one.own > other.own && (one.guaranteed || !other.guaranteed)
    : !other.guaranteed && (one.guaranteed || one.outer > other.outer)
