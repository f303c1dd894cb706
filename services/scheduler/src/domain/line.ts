import { ownOrder } from "./fair/standing.ts"
import { Turns } from "./fair/turns.ts"
import type { QuotaLedger } from "./fair/tree.ts"
import { Heap } from "./heap.ts"
import { nodeOf, priorityIn } from "./quotas.ts"
import { likenessOf } from "./reindex.ts"
import type { JobState, World } from "./world.ts"

/** Jobs that stand behind one another: those that are alike and wait, or one that is new or due. */
export interface Line<Going> {
  readonly jobs: ReadonlyArray<JobState>
  at: number
  /** Whether its job is looked at for the first time, or because its time has come. */
  readonly fresh: boolean
  /** What is left of placing the job at hand. */
  going: Going | undefined
}

/** A piece of it was placed; it goes on with its next job; it is at its end; or nothing more is served at all. */
export type Went = "took" | "next" | "ends" | "stop"

/** Jobs that are alike behind one another, in the order in which they came. */
export const inLines = (jobs: Iterable<JobState>): ReadonlyArray<ReadonlyArray<JobState>> => {
  const lines = new Map<string, Array<JobState>>()
  for (const job of jobs) {
    const likeness = likenessOf(job)
    const line = lines.get(likeness)
    if (line === undefined) lines.set(likeness, [job])
    else line.push(job)
  }
  for (const line of lines.values()) line.sort((left, right) => left.number - right.number)
  return [...lines.values()]
}

interface Standing<Going> {
  readonly line: Line<Going>
  readonly own: number
}

/**
 * Lines in the order in which they are served: the more urgent to all first; among those the workspace with the smallest
 * dominant share; in a workspace the more urgent to it, and then who came first. After each piece that is placed
 * it is asked anew whose turn it is.
 */
export const serve = <Going>(world: World, ledger: QuotaLedger, lines: Iterable<Line<Going>>, step: (line: Line<Going>) => Went): void => {
  const classes = new Map<number, Map<string, Array<Standing<Going>>>>()
  for (const line of lines) {
    const job = line.jobs[line.at]!
    const { outer, own } = priorityIn(world, job)
    const nodes = classes.get(outer) ?? new Map<string, Array<Standing<Going>>>()
    classes.set(outer, nodes)
    const node = nodeOf(job.submitted!.fact.workspace)
    const standing = nodes.get(node) ?? []
    nodes.set(node, standing)
    standing.push({ line, own })
  }
  for (const [, nodes] of [...classes].sort(([left], [right]) => right - left)) {
    const heaps = new Map([...nodes].map(([node, standing]) => [node, new Heap(before<Going>, standing)]))
    const turns = new Turns(ledger, world.index.capacity, heaps.keys())
    for (let node = turns.first(); node !== undefined; node = turns.first()) {
      const heap = heaps.get(node)!
      const { line } = heap.peek()!
      const went = step(line)
      if (went === "stop") return
      if (went === "took") {
        turns.moved(false)
        continue
      }
      const standing = heap.pop()!
      if (went === "next") heap.push(standing)
      if (heap.size === 0) turns.moved(true)
    }
  }
}

const before = <Going>({ line: left, own }: Standing<Going>, { line: right, own: other }: Standing<Going>): boolean =>
  ownOrder({ own, number: left.jobs[left.at]!.number, task: Number(left.fresh) }, { own: other, number: right.jobs[right.at]!.number, task: Number(right.fresh) }) < 0
