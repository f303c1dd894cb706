import { emptyView, type View } from "@millrace/authority"
import { Mix, type Placed as Taken } from "@millrace/packing"
import type {
  AttemptExited,
  AskId,
  AttemptId,
  AttemptRefused,
  Capabilities,
  Cut,
  FactId,
  Fence,
  GrantId,
  HostId,
  JobDeferred,
  JobId,
  JobSubmitted,
  LeaseId,
  MillFact,
  Outcome,
  PlacementWithdrawn,
  PriorityAsked,
  QuotaAsked,
  QuotaTerms,
  Resources,
  Stand,
  WorkspaceName
} from "@millrace/schemas"
import { Agenda, type Due } from "./agenda.ts"
import type { DemandSaid } from "./demand.ts"
import type { Amounts, Dimension } from "./fair/amounts.ts"
import { QuotaLedger, QuotaTree } from "./fair/tree.ts"
import { Fleet } from "./fleet.ts"
import { Gone } from "./gone.ts"
import { emptyMoney, type Money } from "./money.ts"
import { Outcomes, remembersUsually } from "./outcomes.ts"
import type { Offered } from "./possible.ts"
import type { Queue } from "./queue.ts"
import type { Kept } from "./snapshots.ts"
import { Standstill } from "./standstill.ts"

/** A fact with what surrounds it, as far as the scheduler minds. */
export interface Heard {
  readonly id: FactId
  readonly partOf: FactId
  readonly event: MillFact
  readonly stream: string
  readonly sequence: number
  readonly ordinal: number
  readonly atMs: number
  /** What its writer had seen, where a decider wrote it. */
  readonly saw: Cut
}

/** What a host said last of an attempt: the word that ends it. */
export interface Word {
  readonly factId: FactId
  readonly fact: AttemptExited | AttemptRefused
}

/** An attempt as it was placed. Its room is its host's until the host has said its last word. */
export interface Placed {
  readonly workspace: WorkspaceName
  readonly attempt: number
  readonly attemptId: AttemptId
  readonly hostId: HostId
  readonly fence: Fence
  readonly resources: Resources
  /** The model of its devices, where that was said. */
  readonly gpuModel: string | undefined
  /** How urgent its job calls itself, if it does. */
  readonly urgency: number | undefined
  /** The numbers of its devices. */
  readonly gpus: ReadonlyArray<number>
  readonly grantPath: ReadonlyArray<GrantId>
  /** Where in the cell's order it was placed, and when. */
  readonly sequence: number
  readonly atMs: number
}

/** One task of a job; a plain job has one, of number 0. It is forgotten when it is over. */
export interface TaskState extends Due {
  readonly job: JobState
  readonly number: number
  /** The attempt that counts: the newest that was placed, unless another is to follow it. */
  current: Placed | undefined
  withdrawn: PlacementWithdrawn["cause"] | undefined
  /** Of one that gave way: for whom, in words. */
  gaveWay: string | undefined
  /** The number of the newest attempt that we placed. */
  attempt: number
  /** The newest attempt after which we said that another follows. What is said of older ones comes late. */
  retriedAfter: number
  notBeforeMs: number
  /** How many of its attempts ended with the loss of their host. */
  losses: number
  /** The hosts that were lost, the newest first: which of them were taken back by their providers may be known later. */
  lostOn: ReadonlyArray<HostId> | undefined
  /** How many of its attempts gave way to other work. */
  preemptions: number
  /** The attempts that gave way one after the other, the newest first: the next is to go on from what was kept of them. */
  gaveWayIn: ReadonlyArray<GaveWay> | undefined
  /** Last words by attempt and host: what another host says of an attempt is nothing to it. */
  words: ReadonlyMap<string, Word>
  /** Derived: whether it is begun and not over, and whether it runs or waits with nobody having told it to end. */
  active: boolean
  live: boolean
  /** Derived: the snapshot without which it does not begin again. */
  awaits: string | undefined
}

/** An attempt that gave way, and its number: of a gang the members have the same. */
export interface GaveWay {
  readonly attempt: number
  readonly attemptId: AttemptId
}

/** Where a task stands, by what was said of it. */
export type TaskStage = "unheard" | "placed" | "ended" | "lost" | "backing_off" | "waiting"

/** How tasks of an array have ended so far. */
export type Tally = Record<"succeeded" | "failed" | "cancelled" | "lost", number>

/**
 * What is known of one job, kept apart by who said it: submission and cancel are the gateway's, words
 * are the hosts', the rest is our own. So facts of different streams may arrive in any order. When it is
 * over, only its outcome is remembered.
 */
export interface JobState extends Due {
  readonly id: JobId
  submitted: { readonly fact: JobSubmitted; readonly factId: FactId } | undefined
  /** The place of its submission in the gateway's order: who came first is served first. */
  number: number
  cancelledBy: FactId | undefined
  /** Begun and not over, and those of which somebody spoke before we heard that they begin. */
  readonly tasks: Map<number, TaskState>
  /** The first task that was never begun. */
  next: number
  tally: Readonly<Tally>
  /** The last thing it was told about why it waits, and when. */
  told: { readonly reason: JobDeferred["reason"]; readonly atMs: number; readonly dueAtMs: number | undefined } | undefined
  /** Hosts that take nothing else until it is placed. */
  heldOn: ReadonlyArray<HostId>
  /** How urgent it is, where that was said after it was submitted. */
  priority: number | undefined
  /** Since when it waits for a place. */
  waitingSinceMs: number | undefined
  readonly derived: Derived
}

/** What follows from the rest of a job and is kept because it is asked for often. Never saved. */
export interface Derived {
  /** Tasks that are begun and not over. */
  active: number
  /** Of those, the ones that run or wait, with nobody having told them to end. */
  live: number
  waiting: ReadonlySet<TaskState>
  backingOff: ReadonlySet<TaskState>
  /** What makes it alike to others for placing, and the class of its work: texts that are made once. */
  likeness: string | undefined
  class: string | undefined
  /** The queue that it stands in, if it does. */
  queue: string | undefined
  /** What it adds to the cell's demand. */
  demand: { readonly key: string; readonly count: number } | undefined
}

/** What an attempt holds of its host. */
export interface Held {
  readonly resources: Resources
  readonly gpus: ReadonlyArray<number>
  readonly task: TaskState | undefined
  /** What the fleet counts for it, while it knows the host. */
  taken: Taken | undefined
}

/** Where a rented machine stands, what joins it with others, and whether its provider can take it back. */
export interface Rented extends Stand {
  readonly zone?: string
  /** The name of the fast network that joins it with others. */
  readonly fabric?: string
  readonly spot: boolean
}

/** A host, as its own words, access and our judgement have it. */
export interface HostState {
  readonly id: HostId
  admitted: boolean
  dismissed: boolean
  joined: { readonly bootId: string; readonly capabilities: Capabilities; readonly dialect: number; readonly factId: FactId; readonly sequence: number } | undefined
  leaving: boolean
  /** The machine that it is goes back to whom it was rented from: what runs there may end, and nothing follows. */
  takenBack: boolean
  /** When its provider takes it back, or took it, where that was said: what runs there must be elsewhere by then. */
  goneAtMs: number | undefined
  /** The newest judgement that it is lost: where it lies in our order and what we had heard of hosts by then. */
  lost: { readonly sequence: number; readonly sawHosts: number; readonly lastHeardAtMs: number; readonly leaseEndedAtMs: number; returned: boolean } | undefined
  /** The rented machine that it is, as its broker has it. */
  rented: Rented | undefined
  /** GPUs that it suspects, by number, and where in the hosts' order it said so. */
  readonly suspected: Map<number, number>
  /** What it holds ready: snapshots, images and blobs, by id and digest. */
  resident: ReadonlySet<string>
  /** How fast it lately loaded what it did not hold, in bytes a millisecond, where it has measured that. */
  loadBytesPerMs: number | undefined
  /** What was placed here and has had no last word. Derived. */
  readonly holds: Map<AttemptId, Held>
  /** Suspected GPUs that take nothing new. Derived: the brake on suspicion has spared the others. */
  quarantined: ReadonlySet<number>
  /** What it adds to the capacity that is shared out. Derived. */
  counted: Amounts
}

/** An attempt that we gave up without its host's last word. Its room is not free until that has come. */
export interface GivenUp {
  readonly jobId: JobId
  readonly workspace: WorkspaceName
  readonly task: number | undefined
  readonly attempt: number
  readonly attemptId: AttemptId
  readonly hostId: HostId
  readonly resources: Resources
  readonly gpus: ReadonlyArray<number>
  readonly partOf: FactId
  word: { readonly factId: FactId; readonly name: string } | undefined
}

/** A rented machine, as far as it concerns who runs work. */
export interface Machine {
  readonly hostId: HostId | undefined
  readonly goesBack: boolean
  /** When it is gone, where its provider has said so before. */
  readonly goneAtMs?: number | undefined
  readonly rented: Rented | undefined
}

/** What somebody asks of the scheduler, unanswered yet. */
export interface Asked {
  readonly ask: QuotaAsked | PriorityAsked
  readonly factId: FactId
  readonly partOf: FactId
}

/** How a job ended, and where. One value for all that ended so: a million of them are remembered. */
export interface Ended {
  readonly workspace: WorkspaceName
  readonly outcome: Outcome
}

/** Everything the scheduler decides upon. The index is derived from the rest and never saved. */
export interface World {
  term: number
  /** How far each stream was heard: what comes a second time is passed over. */
  readonly heard: Map<string, { readonly sequence: number; readonly ordinal: number }>
  readonly jobs: Map<JobId, JobState>
  /** How jobs ended, for those that come after them; and so that nothing wakes one that is over. */
  readonly outcomes: Outcomes
  readonly hosts: Map<HostId, HostState>
  /** By attempt and host, oldest first; at most `givenUpMax`. */
  readonly givenUp: Map<string, GivenUp>
  readonly authority: View
  readonly money: Money
  /** Those that are planned or there, and those that are gone. */
  readonly snapshots: Map<string, Kept>
  readonly gone: Gone
  /** Rented machines: which host each is, and whether it goes back. */
  readonly machines: Map<LeaseId, Machine>
  /** What could be rented, by provider. */
  readonly offers: Map<string, Offered>
  /** How many tasks were begun under each grant, of all the jobs that name it or one below it. */
  readonly uses: Map<GrantId, number>
  /** Who is due how much, by the names of workspaces and cohorts. */
  readonly quotas: Map<string, QuotaTerms>
  readonly asks: Map<AskId, Asked>
  /** Asks that were answered before they were heard. */
  readonly answered: Set<AskId>
  /** What was last said of the demand. */
  demand: DemandSaid | undefined
  /** What each image is in bytes, by its id. */
  readonly images: Map<string, number>
  /** Scopes that hold a fact which nobody here can read: `<kind>.<scope>`. */
  readonly frozen: Set<string>
  readonly index: Index
}

export interface Index {
  readonly fleet: Fleet
  /** Jobs of which something may begin, and that were not told why it cannot. */
  readonly fresh: Set<JobState>
  /** Jobs that wait for a place, by what makes two of them alike. */
  readonly waiting: Map<string, Queue<JobState>>
  /** Tasks of which something is to be said: an end, a withdrawal, a loss. */
  readonly toSay: Set<TaskState>
  /** Jobs that are to be settled as a whole. */
  readonly closing: Set<JobState>
  /** Jobs whose grant no longer holds. */
  readonly shaken: Set<JobState>
  readonly underGrant: Map<GrantId, Set<JobState>>
  /** Jobs that wait for another job or for a snapshot, by its id. */
  readonly awaiting: Map<string, Set<JobState>>
  /** The snapshots that hold an attempt's work. */
  readonly keptOf: Map<AttemptId, Set<string>>
  readonly agenda: Agenda<JobState | TaskState>
  /** Attempts under each grant that run now, as far as we know. */
  readonly running: Map<GrantId, number>
  /** Thousandths of GPUs that run under each grant, as far as we know. */
  readonly runningGpuMilli: Map<GrantId, number>
  /** Which lines of those that wait stand still, and why. */
  readonly standstill: Standstill
  /** Attempts that were given up and of which a late word has come. */
  readonly late: Set<GivenUp>
  /** Hosts that were lost and have joined again. */
  readonly returning: Set<HostState>
  /** What waits for capacity, by its class. */
  readonly demand: Map<string, number>
  /** What everybody holds against what they are due. Made anew when that changes. */
  ledger: QuotaLedger
  /** What runs of each workspace, as far as we know. */
  readonly pieces: Map<WorkspaceName, Set<TaskState>>
  /** How many of these call themselves how urgent. */
  readonly urgencies: Map<WorkspaceName, Map<number | undefined, number>>
  /** What the hosts have that take work. */
  readonly capacity: Map<Dimension, number>
  /** Jobs that wait for a place and hold hosts for it. */
  readonly held: Set<JobState>
  /** Hosts with a GPU under suspicion, and how many GPUs all hosts have. */
  readonly suspecting: Set<HostState>
  /** Which hosts hold something ready, by its id. */
  readonly residents: Map<string, Set<HostState>>
  /** What all hosts that measured it load in a millisecond together, and how many they are. */
  readonly loading: { bytesPerMs: number; hosts: number }
  devices: number
}

/** A world in which nothing has happened, but for what was learnt of what is typical. */
export const emptyWorld = (mix = new Mix(), remembering = remembersUsually): World => ({
  term: 0,
  heard: new Map(),
  jobs: new Map(),
  outcomes: new Outcomes(remembering),
  hosts: new Map(),
  givenUp: new Map(),
  authority: emptyView(),
  money: emptyMoney(),
  snapshots: new Map(),
  gone: new Gone(remembering.goneMax),
  machines: new Map(),
  offers: new Map(),
  uses: new Map(),
  quotas: new Map(),
  asks: new Map(),
  answered: new Set(),
  demand: undefined,
  images: new Map(),
  frozen: new Set(),
  index: {
    fleet: new Fleet(mix),
    fresh: new Set(),
    waiting: new Map(),
    toSay: new Set(),
    closing: new Set(),
    shaken: new Set(),
    underGrant: new Map(),
    awaiting: new Map(),
    keptOf: new Map(),
    agenda: new Agenda(),
    running: new Map(),
    runningGpuMilli: new Map(),
    standstill: new Standstill(),
    late: new Set(),
    returning: new Set(),
    demand: new Map(),
    suspecting: new Set(),
    residents: new Map(),
    loading: { bytesPerMs: 0, hosts: 0 },
    devices: 0,
    ledger: new QuotaLedger(new QuotaTree()),
    pieces: new Map(),
    urgencies: new Map(),
    capacity: new Map(),
    held: new Set()
  }
})

/** What most have nothing of is one value for all of them: it is never changed, but given way to another. */
const nothing: ReadonlyArray<never> = []
const untold: Readonly<Tally> = { succeeded: 0, failed: 0, cancelled: 0, lost: 0 }
export const noTasks: ReadonlySet<TaskState> = new Set()
export const noWords: ReadonlyMap<string, Word> = new Map()

export const newJob = (id: JobId): JobState => ({
  id,
  submitted: undefined,
  number: 0,
  cancelledBy: undefined,
  tasks: new Map(),
  next: 0,
  tally: untold,
  told: undefined,
  heldOn: nothing,
  priority: undefined,
  waitingSinceMs: undefined,
  dueMs: undefined,
  derived: { active: 0, live: 0, waiting: noTasks, backingOff: noTasks, likeness: undefined, class: undefined, queue: undefined, demand: undefined }
})

export const newTask = (job: JobState, number: number): TaskState => ({
  job, number, current: undefined, withdrawn: undefined, gaveWay: undefined, attempt: 0, retriedAfter: 0, notBeforeMs: 0, losses: 0, lostOn: undefined, preemptions: 0, gaveWayIn: undefined, words: noWords, dueMs: undefined, active: false, live: false, awaits: undefined
})

export const attemptOn = ({ attemptId, hostId }: { readonly attemptId: AttemptId; readonly hostId: HostId }): string => `${attemptId} ${hostId}`

/** How a job ended, if it is over, for one of its workspace that was submitted as this one of GATEWAY. */
export const outcomeOf = (world: World, { number, workspace }: { readonly workspace: WorkspaceName; readonly number: number }, id: JobId): Outcome | undefined => {
  const ended = world.outcomes.for(number, id)
  return ended?.workspace === workspace ? ended.outcome : undefined
}

const endings = new Map<string, Ended>()

export const endedAs = (workspace: WorkspaceName, outcome: Outcome): Ended => {
  const key = `${workspace}/${outcome}`
  const known = endings.get(key) ?? { workspace, outcome }
  endings.set(key, known)
  return known
}

/** Who waits where nobody may decide: something there cannot be read. */
export const isFrozen = (world: World, job: JobState): boolean =>
  world.frozen.size > 0 && job.submitted !== undefined && ["job", "schedule"].some((kind) => world.frozen.has(`${kind}.${job.submitted!.fact.workspace}`))
