import type { Commit, JournalShape, StreamDecider } from "@millrace/journal"
import { deriveId } from "@millrace/decider"
import type { AttemptId, FactId, HostId } from "@millrace/schemas"
import type { FaultName, JournalBugs } from "@millrace/sim"
import { Effect } from "effect"
import type { Ledger } from "../../services/metering/src/domain/ledger.ts"
import { metering } from "../../services/metering/src/domain/metering.ts"
import { letGo as release } from "../../services/scheduler/src/domain/evolve.ts"
import { scheduler } from "../../services/scheduler/src/domain/scheduler.ts"
import type { World } from "../../services/scheduler/src/domain/world.ts"
import type { MachineBugs } from "./machine.ts"

type Wrap = (journal: JournalShape) => JournalShape

/** Where a planted bug stands: between a service and what it stands on, so that no service carries one. */
export interface Plants {
  readonly decider?: StreamDecider<World>
  readonly metering?: StreamDecider<Ledger>
  readonly gateway?: Wrap
  readonly scheduler?: Wrap
  readonly host?: Wrap
  readonly machine?: MachineBugs
  readonly journal?: JournalBugs
  /** Faults that its circumstances need, as bad as they get. */
  readonly faults?: ReadonlyArray<FaultName>
  /** All work lasts for seconds, so that a lease may end under it. */
  readonly longWork?: boolean
  /** A larger world than the usual one. */
  readonly size?: { readonly jobs: number; readonly minutes: number }
  /** How wide the fence of a line is; 0 is none. */
  readonly fenceWidth?: number
}

/** A bug that somebody could write, and the laws that must catch it. */
export interface PlantedBug {
  readonly what: string
  readonly plants: Plants
  /** A law that must catch it by itself, whatever a replay says. */
  readonly law?: string
}

/** Metering that forgets the first time that it charged an attempt, so that it charges once more. */
const chargingTwice = (): StreamDecider<Ledger> => {
  const forgotten = new WeakMap<Ledger, Set<string>>()
  return {
    ...metering,
    evolve: (ledger, fact) => {
      if (fact.event._tag !== "SpendCommitted") return metering.evolve(ledger, fact)
      const once = forgotten.get(ledger) ?? new Set<string>()
      forgotten.set(ledger, once)
      if (once.has(fact.event.attemptId)) return metering.evolve(ledger, fact)
      once.add(fact.event.attemptId)
      return ledger
    }
  }
}

const letGo = (world: World, hostId: string, attemptId: string): World => {
  const held = world.hosts.get(hostId as HostId)?.holds.has(attemptId as AttemptId)
  if (held === true) release(world, { hostId: hostId as HostId, attemptId: attemptId as AttemptId })
  return world
}

let decisions = 0

/** The same facts under other ids, as a writer says them that makes up an id for each try. */
const renamed = (commit: Commit, word: string): Commit => ({
  ...commit,
  facts: commit.facts.map((fact) => ({ ...fact, id: deriveId<FactId>("fct", commit.happenedAtMs, fact.id, word) })) as unknown as Commit["facts"]
})

/**
 * Bugs that are planted here, each in a world of its own, to see that the simulation finds it. They live in
 * wrappers and in the simulated journal and machines: no service's code holds one.
 */
export const plantedBugs = {
  line_without_fence: {
    what: "a scheduler's pipelined appends run ahead without a fence before them",
    plants: { fenceWidth: 0 }
  },
  own_append_by_first_fact: {
    what: "the journal takes any commit that begins with the same fact for the one it sent",
    plants: { journal: { knowsCommitsByFirstFact: true }, faults: ["late_request", "crash", "reboot"] }
  },
  replaced_reader_skips: {
    what: "a frozen reader's successor begins at the head",
    plants: { journal: { replacedReaderSkips: true } }
  },
  ignores_holds: {
    what: "the scheduler forgets that a placement takes room",
    plants: {
      decider: {
        ...scheduler,
        evolve: (world, fact) => {
          const next = scheduler.evolve(world, fact)
          return fact.event._tag === "PlacementMade" ? letGo(next, fact.event.hostId, fact.event.attemptId) : next
        }
      }
    }
  },
  frees_on_withdrawal: {
    what: "the scheduler takes a withdrawn attempt's room for free before the host says so",
    plants: {
      decider: {
        ...scheduler,
        evolve: (world, fact) => {
          const next = scheduler.evolve(world, fact)
          return fact.event._tag === "PlacementWithdrawn" ? letGo(next, fact.event.hostId, fact.event.attemptId) : next
        }
      }
    }
  },
  decides_by_chance: {
    what: "a decision holds something that is in no fact",
    plants: {
      decider: {
        ...scheduler,
        decide: (world, round) => {
          decisions += 1
          return scheduler.decide(world, round).map((said) => ({
            ...said,
            facts: said.facts.map((fact) =>
              fact.event._tag === "PlacementMade" ? { ...fact, event: { ...fact.event, reason: `decision ${decisions}` } } : fact
            ) as unknown as typeof said.facts
          }))
        }
      }
    }
  },
  checkpoint_forgets_what_runs: {
    what: "a checkpoint does not keep which tasks were begun",
    plants: {
      decider: {
        ...scheduler,
        load: (saved: never) => {
          const { jobs, ...rest } = saved as { readonly jobs: Iterable<object> }
          return scheduler.load({ ...rest, jobs: [...jobs].map((job) => ({ ...job, tasks: [], next: 0 })) } as never)
        }
      }
    }
  },
  ignores_cancels: {
    what: "the scheduler places a job whose cancel it has heard",
    plants: {
      decider: {
        ...scheduler,
        evolve: (world, fact) => fact.event._tag === "JobCancelRequested" ? world : scheduler.evolve(world, fact)
      }
    }
  },
  believes_predictions: {
    what: "the scheduler takes what it has sent for stored",
    plants: {
      scheduler: (journal) => ({
        ...journal,
        line: (stream, after) =>
          Effect.map(journal.line(stream, after), (line) => ({
            last: line.last,
            send: (...commits) => {
              const { sequence } = line.send(...commits)
              return { sequence, outcome: Effect.succeed({ stream, sequence, epoch: journal.epoch }) }
            }
          }))
      })
    }
  },
  acknowledges_before_handling: {
    what: "a host acknowledges a placement before it has carried it out",
    plants: {
      host: (journal) => ({
        ...journal,
        react: (options, handle) => journal.react(options, (commit) => Effect.asVoid(Effect.forkChild(handle(commit))))
      })
    }
  },
  forgets_last_words: {
    what: "a host's agent does not look at what the one before it said last",
    plants: {
      host: (journal) => ({
        ...journal,
        last: (subject) => Effect.map(journal.last(subject), (newest) => newest === undefined ? undefined : { ...newest, facts: [] })
      })
    }
  },
  ledger_forgets: {
    what: "a host does not remember what it began",
    plants: { machine: { ledgerForgets: true } }
  },
  forgets_what_runs: {
    what: "an agent that starts anew neither takes up nor ends what runs",
    plants: { machine: { forgetsWork: true, leavesOrphans: true } }
  },
  ignores_deadlines: {
    what: "work goes on though its host's lease is over",
    plants: { machine: { ignoresDeadlines: true }, faults: ["partition"], longWork: true, size: { jobs: 15, minutes: 0.4 } }
  },
  places_before_the_lease_is_over: {
    what: "the scheduler places the next attempt of a lost host's work at once",
    law: "two attempts of a task never run at once",
    plants: {
      faults: ["partition"],
      longWork: true,
      size: { jobs: 15, minutes: 0.4 },
      decider: {
        ...scheduler,
        evolve: (world, fact) =>
          scheduler.evolve(world, fact.event._tag === "JobRetried" && fact.event.lost === true ? { ...fact, event: { ...fact.event, notBeforeMs: 1 } } : fact)
      }
    }
  },
  charges_twice: {
    what: "metering forgets once that it has charged an attempt",
    law: "each attempt with a share is charged once, within it",
    plants: { metering: chargingTwice() }
  },
  lends_without_end: {
    what: "metering does not count against the limit what it has lent",
    law: "no account is committed and lent beyond its limit",
    plants: {
      metering: {
        ...metering,
        evolve: (ledger, fact) => {
          const next = metering.evolve(ledger, fact)
          const account = fact.event._tag === "SliceLeased" ? next.accounts.get(fact.event.account) : undefined
          if (account !== undefined) account.usedPico = 0n
          return next
        }
      }
    }
  },
  forgets_uses: {
    what: "the scheduler does not count how often a grant was used",
    law: "no grant is used, run or spent beyond its limits",
    plants: {
      decider: {
        ...scheduler,
        evolve: (world, fact) => {
          const next = scheduler.evolve(world, fact)
          next.uses.clear()
          return next
        }
      }
    }
  },
  answers_before_stored: {
    what: "a gateway answers before the log has",
    plants: {
      gateway: (journal) => ({
        ...journal,
        append: (commit, expect) =>
          Effect.as(Effect.forkChild(journal.append(commit, expect)), { stream: "GATEWAY", sequence: expect.sequence + 1, epoch: journal.epoch })
      })
    }
  },
  insists_with_another_id: {
    what: "a gateway that comes second says it again under another id, behind what it found",
    plants: {
      gateway: (journal) => ({
        ...journal,
        append: (commit, expect) =>
          journal.append(commit, expect).pipe(
            Effect.catchTag("Overtaken", ({ actual }) => journal.append(renamed(commit, `behind ${actual}`), { last: "subject", sequence: actual }))
          )
      })
    }
  }
} as const satisfies Readonly<Record<string, PlantedBug>>

export type PlantedBugName = keyof typeof plantedBugs

export const plantsOf = (bug: PlantedBugName | undefined): Plants => bug === undefined ? {} : plantedBugs[bug].plants
