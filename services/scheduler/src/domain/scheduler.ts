import type { Fact, StoredCommit, StreamDecider } from "@millrace/journal"
import type { MillFact, Principal } from "@millrace/schemas"
import { decide, dueAtMs } from "./decide.ts"
import { evolve } from "./evolve.ts"
import { type Remembering, remembersUsually } from "./outcomes.ts"
import { load, save, saveLong, type SavedWorld } from "./saved.ts"
import { emptyWorld, type HostState, type World } from "./world.ts"

/** The log lets a host write on its own subjects alone; a fact there about another host is nobody's word. */
const speaksForItself = ({ subject: { kind, scope } }: StoredCommit, event: MillFact): boolean =>
  (kind !== "host" && kind !== "attempt") || ("hostId" in event && event.hostId === scope)

/** Hosts of which, or on which, something cannot be read take nothing more. */
const watched = (world: World): World => {
  world.index.standstill.forget()
  world.index.fleet.frozenBy(({ id }: HostState) => world.frozen.size > 0 && ["host", "attempt", "placement"].some((kind) => world.frozen.has(`${kind}.${id}`)))
  return world
}

/** The scheduler with a memory of its own for how jobs ended: what is remembered decides with the rest. */
export const schedulerRemembering = (remembering: Remembering): StreamDecider<World> => ({
  name: "scheduler",
  codeVersion: "17",
  actor: "service:scheduler" as Principal,
  writes: "SCHEDULER",
  hears: ["GATEWAY", "HOSTS", "ACCESS", "METERING", "SNAPSHOTS", "BROKER"],
  initial: () => watched(emptyWorld(undefined, remembering)),
  evolve: (world, { commit, event, id, ordinal, partOf }: Fact) =>
    speaksForItself(commit, event)
      ? evolve(world, {
        id, partOf, event, ordinal,
        stream: commit.place.stream,
        sequence: commit.place.sequence,
        atMs: commit.happenedAtMs,
        saw: commit.decided?.saw ?? {}
      })
      : world,
  freeze: (world, { subject }) => {
    world.frozen.add(`${subject.kind}.${subject.scope}`)
    return watched(world)
  },
  decide,
  dueAtMs,
  save,
  load: (saved: SavedWorld) => watched(load(saved, remembering)),
  saveLong
})

/** The scheduler as the journal runs and replays it: everything it decides follows from these functions. */
export const scheduler: StreamDecider<World> = schedulerRemembering(remembersUsually)
