import type { Commit, JournalShape, Seat, StreamDecider } from "@millrace/journal"
import { deriveId } from "@millrace/decider"
import type { AttemptId, FactId, HostId, MillFact } from "@millrace/schemas"
import { calm, type FaultName, type JournalBugs, type Swarm } from "@millrace/sim"
import { Effect } from "effect"
import type { Ledger } from "../../services/metering/src/domain/ledger.ts"
import { metering } from "../../services/metering/src/domain/metering.ts"
import { letGo as release } from "../../services/scheduler/src/domain/evolve.ts"
import { scheduler } from "../../services/scheduler/src/domain/scheduler.ts"
import { holds } from "../../services/scheduler/src/domain/quotas.ts"
import type { Placed, World } from "../../services/scheduler/src/domain/world.ts"
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
  /** All of the faults there are, where the seed is not to choose. */
  readonly swarm?: Swarm
  /** Faults that its circumstances need, as bad as they get. */
  readonly faults?: ReadonlyArray<FaultName>
  /** All work lasts for seconds, so that a lease may end under it. */
  readonly longWork?: boolean
  /** In a cell that is fought over: see `SimulateOptions`. */
  readonly contested?: boolean
  /** Stands between each scheduler and the seat. */
  readonly seat?: (seat: Seat["Service"]) => Seat["Service"]
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

/** In a contested cell, a scheduler that hears facts otherwise than they are, or not at all. */
const hearing = (otherwise: (event: MillFact) => MillFact | undefined): Plants => ({
  contested: true,
  decider: {
    ...scheduler,
    evolve: (world, fact) => {
      const event = otherwise(fact.event)
      return event === undefined ? world : scheduler.evolve(world, { ...fact, event })
    }
  }
})

/** In a contested cell, a scheduler that leaves out some of what it decided. */
const saying = (says: (event: MillFact) => boolean): Plants => ({
  contested: true,
  decider: {
    ...scheduler,
    decide: (world, round) =>
      scheduler.decide(world, round).flatMap((said) => {
        const facts = said.facts.filter(({ event }) => says(event))
        return facts.length === 0 ? [] : [{ ...said, facts: facts as unknown as typeof said.facts }]
      })
  }
})

/** In a contested cell, a scheduler that remembers what it placed otherwise than it was. */
const runningOtherwise = (otherwise: (placed: Placed) => Placed): Plants => ({
  contested: true,
  decider: {
    ...scheduler,
    evolve: (world, fact) => {
      const next = scheduler.evolve(world, fact)
      if (fact.event._tag !== "PlacementMade") return next
      const task = next.jobs.get(fact.event.jobId)?.tasks.get(fact.event.task ?? 0)
      if (task?.current?.attemptId !== fact.event.attemptId) return next
      holds(next, task, task.current, -1)
      task.current = otherwise(task.current)
      holds(next, task, task.current, 1)
      return next
    }
  }
})

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
    plants: { machine: { ignoresDeadlines: true }, swarm: { ...calm, partition: 1 }, longWork: true, size: { jobs: 15, minutes: 0.4 } }
  },
  places_before_the_lease_is_over: {
    what: "the scheduler places the next attempt of a lost host's work at once",
    law: "two attempts of a task never run at once",
    plants: {
      swarm: { ...calm, partition: 1 },
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
      swarm: calm,
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
  },
  batches_are_torn: {
    what: "the log sometimes stores a part of what is to be stored together",
    law: "a gang is placed whole or not at all",
    plants: { contested: true, journal: { tearsBatches: true } }
  },
  gang_wherever: {
    what: "the scheduler does not mind how near to each other the members of a gang must be",
    law: "a gang lies where its topology says",
    plants: hearing((event) => event._tag === "JobSubmitted" && event.spec.gang !== undefined ? { ...event, spec: { ...event.spec, gang: { ...event.spec.gang, topology: "anywhere" } } } : event)
  },
  gang_leaves_members: {
    what: "the others of a gang are not told when one of them has ended",
    law: "when a member ends badly, all are told to end",
    plants: saying((event) => event._tag !== "PlacementWithdrawn" || event.cause !== "settled")
  },
  gang_beside_itself: {
    what: "a gang that lost a host begins again while its members may still run",
    law: "of a gang only one attempt runs at a time",
    plants: {
      ...hearing((event) => event._tag === "JobRetried" ? { ...event, notBeforeMs: 1 } : event),
      swarm: { ...calm, partition: 1, lost_request: 0.5 },
      longWork: true
    }
  },
  quota_is_wider: {
    what: "the scheduler takes quotas for ten times as wide as they are",
    law: "nobody takes beyond its quota",
    plants: hearing((event) => event._tag === "QuotaSet" ? { ...event, terms: { ...event.terms, limits: event.terms.limits.map((limit) => ({ ...limit, nominal: limit.nominal * 10 })) } } : event)
  },
  forgets_urgency: {
    what: "the scheduler forgets how urgent that is which runs",
    law: "only what stands lower gives way",
    plants: runningOtherwise((placed) => ({ ...placed, urgency: 0 }))
  },
  spares_nobody: {
    what: "the scheduler takes what has just begun for old",
    law: "what has just begun is spared",
    plants: runningOtherwise((placed) => ({ ...placed, atMs: placed.atMs - 60_000 }))
  },
  takes_turns: {
    what: "what runs counts as less urgent than what waits, so that they push each other aside",
    law: "giving way comes to an end",
    plants: runningOtherwise((placed) => ({ ...placed, atMs: placed.atMs - 60_000, urgency: 0 }))
  },
  machines_are_smaller: {
    what: "the scheduler takes machines for smaller than they are",
    law: "nothing that fits an empty cluster is refused",
    plants: hearing((event) => event._tag === "HostJoined"
      ? { ...event, capabilities: { ...event.capabilities, resources: { ...event.capabilities.resources, cpuMilli: 1_000 } } }
      : event._tag === "OffersObserved" ? { ...event, rows: event.rows?.map((row) => ({ ...row, resources: { ...row.resources, cpuMilli: 1_000 } })) ?? [] } : event)
  },
  ignores_notices: {
    what: "the scheduler does not hear that a rented machine goes back",
    law: "nothing begins on a machine that goes back",
    plants: hearing((event) => event._tag === "ReclaimNoticed" || event._tag === "LeaseReleased" ? undefined : event)
  },
  leaves_too_late: {
    what: "the scheduler takes the moment at which a machine is taken back for a later one",
    law: "work leaves a machine that is taken back",
    plants: hearing((event) => event._tag === "ReclaimNoticed" ? { ...event, deadlineAtMs: event.deadlineAtMs + 1_000_000 } : event)
  },
  ignores_suspicion: {
    what: "the scheduler does not hear that a GPU is suspected",
    law: "nothing begins on a suspected GPU",
    plants: hearing((event) => event._tag === "GpuSuspected" ? undefined : event)
  },
  halves_parts: {
    what: "the scheduler counts half of a part of a GPU",
    law: "no host is over-committed in the scheduler's order",
    plants: hearing((event) => event._tag === "PlacementMade" && event.spec.resources.gpuMilli !== undefined
      ? { ...event, spec: { ...event.spec, resources: { ...event.spec.resources, gpuMilli: event.spec.resources.gpuMilli / 2 } } }
      : event)
  },
  leaks_quota: {
    what: "a quota is counted once too often",
    law: "when all is over nothing is held",
    plants: {
      contested: true,
      decider: {
        ...scheduler,
        evolve: (world, fact) => {
          const next = scheduler.evolve(world, fact)
          if (fact.event._tag === "PlacementMade") next.index.ledger.take(`workspace/${fact.event.workspace}`, new Map([["cpuMilli", 1]]))
          return next
        }
      }
    }
  },
  asks_nobody: {
    what: "a standby takes the seat for free without asking",
    law: "a scheduler that is well is left alone",
    plants: { contested: true, swarm: calm, seat: (seat) => ({ ...seat, ask: Effect.succeed("free") }) }
  }
} as const satisfies Readonly<Record<string, PlantedBug>>

export type PlantedBugName = keyof typeof plantedBugs

export const plantsOf = (bug: PlantedBugName | undefined): Plants => bug === undefined ? {} : plantedBugs[bug].plants
