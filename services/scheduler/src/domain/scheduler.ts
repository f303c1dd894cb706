import type { Fact, StoredCommit, StreamDecider } from "@millrace/journal"
import type { MillFact, Principal, Resources } from "@millrace/schemas"
import { decide, dueAtMs } from "./decide.ts"
import { type AttemptState, emptyWorld, evolve, type HostState, type JobState, noResources, plus, reindexed, type World } from "./world.ts"

interface SavedWorld {
  readonly term: number
  readonly frozen: ReadonlyArray<string>
  readonly jobs: ReadonlyArray<Omit<JobState, "attempts" | "lateNoted"> & {
    readonly attempts: ReadonlyArray<readonly [string, AttemptState]>
    readonly lateNoted: ReadonlyArray<string>
  }>
  readonly hosts: ReadonlyArray<Omit<HostState, "holds" | "used"> & { readonly holds: ReadonlyArray<readonly [string, Resources]> }>
}

const byId = <T extends { readonly id: string }>(things: Iterable<T>): ReadonlyArray<T> =>
  [...things].sort((left, right) => (left.id < right.id ? -1 : 1))

const byKey = <V>(entries: Iterable<readonly [string, V]>): ReadonlyArray<readonly [string, V]> =>
  [...entries].sort(([left], [right]) => (left < right ? -1 : 1))

/** The log lets a host write on its own subjects alone; a fact there about another host is nobody's word. */
const speaksForItself = ({ subject: { kind, scope } }: StoredCommit, event: MillFact): boolean =>
  (kind !== "host" && kind !== "attempt") || ("hostId" in event && event.hostId === scope)

/** The scheduler as the journal runs and replays it: everything it decides follows from these functions. */
export const scheduler: StreamDecider<World> = {
  name: "scheduler",
  codeVersion: "3",
  actor: "service:scheduler" as Principal,
  writes: "SCHEDULER",
  hears: ["GATEWAY", "HOSTS", "ACCESS"],
  initial: emptyWorld,
  evolve: (world, { commit, event, id, partOf }: Fact) =>
    speaksForItself(commit, event) ? evolve(world, { id, partOf, event, sequence: commit.place.sequence }) : world,
  freeze: (world, { subject }) => {
    world.frozen.add(`${subject.kind}.${subject.scope}`)
    return world
  },
  decide,
  dueAtMs,
  save: ({ frozen, hosts, jobs, term }): SavedWorld => ({
    term,
    frozen: [...frozen].sort(),
    jobs: byId(jobs.values()).map((job) => ({ ...job, attempts: byKey(job.attempts), lateNoted: [...job.lateNoted].sort() })),
    hosts: byId(hosts.values()).map((host) => ({ id: host.id, admitted: host.admitted, dismissed: host.dismissed, joined: host.joined, leaving: host.leaving, holds: byKey(host.holds) }))
  }),
  load: (saved: SavedWorld) => {
    const world = emptyWorld()
    world.term = saved.term
    for (const scope of saved.frozen) world.frozen.add(scope)
    for (const host of saved.hosts) {
      const restored = { ...host, holds: new Map(host.holds), used: host.holds.reduce((sum, [, held]) => plus(sum, held), noResources) } as HostState
      world.hosts.set(restored.id, restored)
      world.index.hosts.push(restored)
    }
    for (const job of saved.jobs) {
      const restored = { ...job, attempts: new Map(job.attempts), lateNoted: new Set(job.lateNoted) } as unknown as JobState
      world.jobs.set(restored.id, restored)
      reindexed(world, restored)
    }
    return world
  }
}
