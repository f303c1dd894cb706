import { Mix, type SavedMix } from "@millrace/packing"
import { loadView, type SavedView, saveView } from "@millrace/authority"
import { type JobId, type LeaseId, PriceBook } from "@millrace/schemas"
import { Schema } from "effect"
import { hold, hostChanged, hostOf, running, unsaidOf } from "./evolve.ts"
import { lean, leanPlaced, once, own } from "./lean.ts"
import type { Money, Promised, Slice } from "./money.ts"
import { type Lot, type Pinned, remembersUsually } from "./outcomes.ts"
import { setQuotas } from "./quotas.ts"
import type { MachineKind } from "./possible.ts"
import { everythingChanged, introduce } from "./reindex.ts"
import { noteKept } from "./snapshots.ts"
import { residentChanged } from "./starts.ts"
import { devicesChanged } from "./suspicion.ts"
import { wordOn } from "./tasks.ts"
import { emptyWorld, type Ended, endedAs, type GivenUp, type HostState, type JobState, type Machine, newJob, newTask, noWords, type TaskState, type World } from "./world.ts"

type SavedTask = Omit<TaskState, "job" | "words" | "dueMs" | "active" | "awaits" | "live"> & { readonly words: ReadonlyArray<readonly [string, unknown]> }
type SavedJob = Omit<JobState, "derived" | "dueMs" | "tasks"> & { readonly tasks: ReadonlyArray<SavedTask> }
type SavedHost = Pick<HostState, "id" | "admitted" | "dismissed" | "joined" | "leaving" | "takenBack" | "goneAtMs" | "lost"> & {
  readonly suspected: ReadonlyArray<readonly [number, number]>
  readonly resident: ReadonlyArray<string>
  /** One that was saved before this was heard has not measured it. */
  readonly loadBytesPerMs?: number
}

interface SavedMoney {
  readonly books: ReadonlyArray<unknown>
  readonly accounts: ReadonlyArray<string>
  readonly slices: ReadonlyArray<readonly [string, string | undefined, string | undefined, boolean, string, string]>
  readonly promised: ReadonlyArray<readonly [string, string, string, ReadonlyArray<string>]>
  readonly early: ReadonlyArray<readonly [string, string]>
  readonly spent: ReadonlyArray<readonly [string, string, string]>
  readonly recalledAt: number
  readonly answeredAt: number
}

type Entries = ReadonlyArray<readonly [string, number]>

/** A world as plain values in a canonical order. What follows from the rest is left out. */
export interface SavedWorld {
  readonly term: number
  readonly heard: ReadonlyArray<readonly [string, { readonly sequence: number; readonly ordinal: number }]>
  readonly frozen: ReadonlyArray<string>
  readonly jobs: Iterable<SavedJob>
  /** The ids of jobs by their lot, workspace and outcome; of one that are many, in several items. */
  readonly outcomes: Iterable<readonly [number, string, string, ReadonlyArray<string>]>
  readonly lots: ReadonlyArray<Omit<Lot, "ended">>
  readonly pinned: ReadonlyArray<readonly [JobId, Pinned]>
  readonly forgottenAtMs: number | undefined
  /** What is promised and not in `money`, in a checkpoint that is made bit by bit. */
  readonly promised?: Iterable<SavedMoney["promised"][number]>
  readonly hosts: ReadonlyArray<SavedHost>
  /** In the order in which they were given up. */
  readonly givenUp: ReadonlyArray<readonly [string, GivenUp]>
  readonly authority: SavedView
  readonly money: SavedMoney
  readonly snapshots: ReadonlyArray<readonly [string, unknown]>
  /** In the order in which they went. */
  readonly gone: ReadonlyArray<string>
  readonly goneUpToMs: number | undefined
  readonly machines: ReadonlyArray<readonly [LeaseId, Machine]>
  readonly offers: ReadonlyArray<readonly [string, { readonly whole: boolean; readonly silent?: boolean; readonly regions?: ReadonlyArray<string>; readonly fabric?: boolean; readonly kinds: ReadonlyArray<readonly [string, MachineKind]> }]>
  readonly uses: ReadonlyArray<readonly [string, number]>
  readonly quotas: ReadonlyArray<readonly [string, unknown]>
  readonly asks: ReadonlyArray<readonly [string, unknown]>
  readonly answered: ReadonlyArray<string>
  /** What was learnt of what is typical. */
  readonly mix: SavedMix
  readonly images: ReadonlyArray<readonly [string, number]>
  readonly demand: { readonly counts: Entries; readonly atMs: number; readonly turnAtMs: number; readonly toldAtMs: Entries } | undefined
}

const encodeBook = Schema.encodeSync(PriceBook)
const decodeBook = Schema.decodeUnknownSync(PriceBook)

const byKey = <K extends string, V>(entries: Iterable<readonly [K, V]>): ReadonlyArray<readonly [K, V]> =>
  [...entries].sort(([left], [right]) => (left < right ? -1 : 1))

export const save = (world: World): SavedWorld => ({
  ...saveRest(world),
  jobs: byKey(world.jobs).map(([, job]) => saveJob(job)),
  outcomes: saveOutcomes(world),
  money: saveMoney(world.money)
})

const saveRest = (world: World): Omit<SavedWorld, "jobs" | "outcomes" | "money"> => ({
  term: world.term,
  heard: byKey(world.heard),
  frozen: [...world.frozen].sort(),
  hosts: byKey(world.hosts).map(([, { admitted, dismissed, goneAtMs, id, joined, leaving, loadBytesPerMs, lost, resident, suspected, takenBack }]) => ({
    id, admitted, dismissed, joined, leaving, takenBack, goneAtMs, lost: lost === undefined ? undefined : { ...lost },
    suspected: [...suspected].sort(([left], [right]) => left - right), resident: [...resident].sort(), ...(loadBytesPerMs === undefined ? {} : { loadBytesPerMs })
  })),
  givenUp: [...world.givenUp].map(([key, givenUp]) => [key, { ...givenUp }] as const),
  authority: saveView(world.authority),
  snapshots: byKey(world.snapshots),
  gone: [...world.gone.ids],
  goneUpToMs: world.gone.upToMs,
  machines: byKey(world.machines),
  offers: byKey(world.offers).map(([provider, { kinds, ...said }]) => [provider, { ...said, kinds: byKey(kinds) }] as const),
  uses: byKey(world.uses),
  quotas: byKey(world.quotas),
  asks: byKey(world.asks),
  answered: [...world.answered].sort(),
  lots: world.outcomes.lots.map(({ ended: _, ...lot }) => lot),
  pinned: byKey(world.outcomes.pinned),
  forgottenAtMs: world.outcomes.forgottenAtMs,
  mix: world.index.fleet.mix.saved(),
  images: byKey(world.images),
  demand: world.demand === undefined ? undefined : { ...world.demand, counts: byKey(world.demand.counts), toldAtMs: [...world.demand.toldAtMs] }
})

/** The same in the order in which it came to be, and what there may be a million of bit by bit. */
export const saveLong = (world: World): SavedWorld => ({
  ...saveRest(world),
  jobs: bitByBit(function*() {
    for (const job of world.jobs.values()) yield saveJob(job)
  }),
  outcomes: bitByBit(function*() {
    for (const [at, lot] of world.outcomes.lots.entries()) {
      const alike = new Map<Ended, Array<string>>()
      for (const [id, ended] of lot.ended) {
        const ids = alike.get(ended)
        if (ids === undefined) alike.set(ended, [id])
        else if (ids.push(id) === alikeMax) {
          yield [at, ended.workspace, ended.outcome, ids] as const
          alike.delete(ended)
        }
      }
      for (const [{ outcome, workspace }, ids] of alike) yield [at, workspace, outcome, ids] as const
    }
  }),
  promised: bitByBit(function*() {
    for (const [id, promised] of world.money.promised) yield savePromised(id, promised)
  }),
  money: saveMoney({ ...world.money, promised: new Map() })
})

/** So many ids of jobs that are over are one item. */
const alikeMax = 1_000

const bitByBit = <A>(items: () => Iterator<A>): Iterable<A> => ({ [Symbol.iterator]: items })

const saveJob = ({ derived: _, dueMs: _due, tasks, ...job }: JobState): SavedJob => ({
  ...job,
  tally: { ...job.tally },
  tasks: [...tasks.values()].sort((left, right) => left.number - right.number).map(({ active: _a, awaits: _w, dueMs: _d, job: _j, live: _l, words, ...task }) => ({ ...task, words: byKey(words) }))
})

const saveOutcomes = (world: World): SavedWorld["outcomes"] => world.outcomes.lots.flatMap((lot, at) => {
  const groups = new Map<string, { readonly ended: readonly [string, string]; readonly ids: Array<string> }>()
  for (const [id, { outcome, workspace }] of lot.ended) {
    const key = `${workspace}/${outcome}`
    const group = groups.get(key) ?? { ended: [workspace, outcome] as const, ids: [] }
    group.ids.push(id)
    groups.set(key, group)
  }
  return byKey(groups).map(([, { ended: [workspace, outcome], ids }]) => [at, workspace, outcome, ids.sort()] as const)
})

const savePromised = (id: string, { amountPico, grantPath, slice }: Promised): SavedMoney["promised"][number] => [id, slice, String(amountPico), grantPath]

const saveMoney = ({ accounts, answeredAt, books, early, promised, recalledAt, slices, spent }: Money): SavedMoney => ({
  books: books.map((book) => encodeBook(book)),
  accounts: [...accounts].sort(),
  // In the order of lending, which is metering's and no accident of this fold; what was not lent yet comes behind.
  slices: [...[...slices].filter(([, { amountPico }]) => amountPico !== undefined), ...byKey([...slices].filter(([, { amountPico }]) => amountPico === undefined))]
    .map(([id, { account, amountPico, committedPico, promisedPico, recalled }]) => [id, account, amountPico?.toString(), recalled, String(committedPico), String(promisedPico)] as const),
  promised: byKey(promised).map(([id, promise]) => savePromised(id, promise)),
  early: byKey(early).map(([id, amount]) => [id, String(amount)] as const),
  spent: byKey(spent).map(([id, { committedPico, promisedPico }]) => [id, String(committedPico), String(promisedPico)] as const),
  recalledAt,
  answeredAt
})

export const load = (saved: SavedWorld, remembering = remembersUsually): World => {
  const world: World = { ...emptyWorld(Mix.from(saved.mix), remembering), authority: loadView(saved.authority), term: saved.term, demand: saved.demand === undefined ? undefined : { ...saved.demand, counts: new Map(saved.demand.counts), toldAtMs: new Map(saved.demand.toldAtMs) } }
  for (const [stream, place] of saved.heard) world.heard.set(stream, place)
  for (const scope of saved.frozen) world.frozen.add(scope)
  world.outcomes.load(saved.lots, saved.forgottenAtMs)
  for (const [lot, workspace, outcome, ids] of saved.outcomes) for (const id of ids) world.outcomes.restore(lot, id as never, endedAs(workspace as never, outcome as never))
  for (const [id, kept] of saved.pinned) world.outcomes.pinned.set(id, kept)
  world.gone.load(saved.gone, saved.goneUpToMs)
  for (const [id, kept] of saved.snapshots) {
    world.snapshots.set(id, kept as never)
    noteKept(world.index.keptOf, world.snapshots.get(id), id)
  }
  for (const [provider, { kinds, ...said }] of saved.offers) world.offers.set(provider, { ...said, kinds: new Map(kinds) })
  for (const [lease, machine] of saved.machines) world.machines.set(lease, machine)
  for (const [grant, uses] of saved.uses) world.uses.set(grant as never, uses)
  setQuotas(world, saved.quotas as never)
  for (const [id, ask] of saved.asks) world.asks.set(id as never, ask as never)
  for (const id of saved.answered) world.answered.add(id as never)
  loadMoney(world.money, saved.money)
  loadPromised(world.money, saved.money.promised)
  loadPromised(world.money, saved.promised ?? [])
  for (const [image, sizeBytes] of saved.images) world.images.set(image, sizeBytes)
  const rented = new Map([...world.machines.values()].map((machine) => [machine.hostId, machine.rented]))
  for (const { loadBytesPerMs, lost, resident, suspected, ...host } of saved.hosts) {
    const restored: HostState = {
      ...host, lost: lost === undefined ? undefined : { ...lost }, ...unsaidOf(),
      suspected: new Map(suspected), rented: rented.get(host.id)
    }
    world.hosts.set(restored.id, restored)
    world.index.devices += restored.joined?.capabilities.gpus.length ?? 0
    if (suspected.length > 0) world.index.suspecting.add(restored)
    residentChanged(world, restored, new Set(resident), loadBytesPerMs)
    world.index.fleet.add(restored)
    hostChanged(world, restored)
  }
  devicesChanged(world)
  for (const [key, given] of saved.givenUp) {
    const givenUp = { ...given }
    world.givenUp.set(key, givenUp)
    if (givenUp.word === undefined) hold(world, givenUp, undefined)
    else world.index.late.add(givenUp)
  }
  for (const job of saved.jobs) loadJob(world, job)
  // Only once all are there: a job looks at those that it comes after.
  for (const job of world.jobs.values()) everythingChanged(world, job)
  return world
}

const loadJob = (world: World, { tasks, ...saved }: SavedJob): void => {
  const id = own(saved.id)
  const { heldOn, submitted, tally } = saved
  const job: JobState = {
    ...newJob(id), ...saved,
    id, heldOn: once(heldOn), tally: once(tally), submitted: submitted === undefined ? undefined : { fact: lean(submitted.fact, id), factId: own(submitted.factId) }
  }
  world.jobs.set(job.id, job)
  for (const { words, ...kept } of tasks) {
    const { current } = kept
    const task: TaskState = {
      ...newTask(job, kept.number), ...kept,
      words: words.length === 0 ? noWords : new Map(words as never),
      current: current === undefined ? undefined : leanPlaced({ ...current, attemptId: own(current.attemptId), hostId: hostOf(world, current.hostId).id })
    }
    job.tasks.set(task.number, task)
    if (task.current === undefined || wordOn(task) !== undefined) continue
    hold(world, task.current, task)
    running(world, task, task.current, 1)
  }
  if (job.submitted !== undefined) introduce(world, job)
}

const loadPromised = (money: Money, promised: Iterable<SavedMoney["promised"][number]>): void => {
  for (const [id, slice, amount, grantPath] of promised) money.promised.set(id as never, { slice: slice as never, amountPico: BigInt(amount), grantPath: grantPath as never })
}

const loadMoney = (money: Money, { accounts, answeredAt, books, early, recalledAt, slices, spent }: SavedMoney): void => {
  Object.assign(money, { recalledAt, answeredAt })
  money.books = books.map((book) => decodeBook(book))
  for (const account of accounts) money.accounts.add(account as never)
  for (const [id, account, amount, recalled, committed, promisedPico] of slices) {
    const slice: Slice = { id: id as never, account: account as never, amountPico: amount === undefined ? undefined : BigInt(amount), recalled, committedPico: BigInt(committed), promisedPico: BigInt(promisedPico) }
    money.slices.set(slice.id, slice)
    if (slice.account !== undefined && slice.amountPico !== undefined) money.byAccount.set(slice.account, (money.byAccount.get(slice.account) ?? new Set()).add(slice))
  }
  for (const [id, amount] of early) money.early.set(id as never, BigInt(amount))
  for (const [id, committed, promisedPico] of spent) money.spent.set(id as never, { committedPico: BigInt(committed), promisedPico: BigInt(promisedPico) })
}
