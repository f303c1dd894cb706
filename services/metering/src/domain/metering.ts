import type { Fact, StreamDecider } from "@millrace/journal"
import type { PriceBook } from "@millrace/schemas"
import { actor, decide, dueAtMs } from "./decide.ts"
import { evolve, indexed } from "./evolve.ts"
import { type Account, type Attempt, emptyLedger, type Ledger, type Slice } from "./ledger.ts"

/** Amounts as decimal texts: a checkpoint's form holds 64 bits. */
type Plain<T> = T extends bigint ? string : T extends ReadonlyArray<infer E> ? ReadonlyArray<Plain<E>> : T extends object ? { readonly [K in keyof T]: Plain<T[K]> } : T

type SavedAccount = Omit<Account, "slices"> & { readonly slices: ReadonlyArray<Slice> }
type SavedAttempt = Omit<Attempt, "marks"> & { readonly marks: ReadonlyArray<readonly [string, unknown]> }

interface SavedLedger {
  readonly told: Ledger["told"]
  readonly term: number
  readonly seat: Ledger["seat"]
  readonly books: ReadonlyArray<PriceBook>
  readonly workspaces: ReadonlyArray<readonly [string, unknown]>
  readonly accounts: ReadonlyArray<SavedAccount>
  readonly over: ReadonlyArray<string>
  readonly attempts: ReadonlyArray<SavedAttempt>
  readonly asks: ReadonlyArray<readonly [string, unknown]>
  readonly answered: ReadonlyArray<string>
  readonly wants: ReadonlyArray<readonly [string, unknown]>
  readonly heardByScheduler: number
  readonly frozen: ReadonlyArray<string>
}

/** The metering as the journal runs and replays it: everything it decides follows from these functions. */
export const metering: StreamDecider<Ledger> = {
  name: "metering",
  codeVersion: "3",
  actor,
  writes: "METERING",
  hears: ["ACCESS", "GATEWAY", "SCHEDULER", "HOSTS"],
  initial: emptyLedger,
  evolve: (ledger, { commit, event, grant, id, ordinal, partOf }: Fact) =>
    evolve(ledger, {
      id,
      partOf,
      grant,
      event,
      sequence: commit.place.sequence,
      ordinal,
      isOwn: commit.place.stream === "METERING",
      storedAtMs: commit.place.storedAtMs,
      scope: commit.subject.scope,
      sawMetering: commit.place.stream === "SCHEDULER" ? commit.decided?.saw["METERING"] : undefined
    }),
  freeze: (ledger, { subject }) => {
    ledger.frozen.add(`${subject.kind}.${subject.scope}`)
    return ledger
  },
  decide,
  dueAtMs,
  save: (ledger): Plain<SavedLedger> => plain({
    told: ledger.told,
    term: ledger.term,
    seat: ledger.seat,
    books: ledger.books,
    workspaces: byKey(ledger.workspaces),
    accounts: byId(ledger.accounts.values()).map((account) => ({ ...account, slices: byId(account.slices.values()) })),
    over: [...ledger.over].sort(),
    attempts: byId(ledger.attempts.values()).map((attempt) => ({ ...attempt, marks: byKey(attempt.marks) })),
    asks: byKey(ledger.asks),
    answered: [...ledger.answered].sort(),
    wants: byKey(ledger.wants),
    heardByScheduler: ledger.heardByScheduler,
    frozen: [...ledger.frozen].sort()
  }) as Plain<SavedLedger>,
  load: (saved: Plain<SavedLedger>) => {
    const { accounts, answered, asks, attempts, books, frozen, heardByScheduler, over, seat, term, told, wants, workspaces } = withAmounts(saved) as SavedLedger
    const ledger = emptyLedger()
    Object.assign(ledger, { told, term, seat, books, heardByScheduler })
    for (const [workspace, opened] of workspaces) ledger.workspaces.set(workspace as never, opened as never)
    for (const { slices, ...account } of accounts) {
      ledger.accounts.set(account.id, { ...account, slices: new Map(slices.map((slice) => [slice.id, slice])) })
      for (const slice of slices) ledger.index.slices.set(slice.id, slice)
    }
    for (const id of over) ledger.over.add(id as never)
    for (const [id, ask] of asks) ledger.asks.set(id as never, ask as never)
    for (const id of answered) ledger.answered.add(id as never)
    for (const [job, want] of wants) ledger.wants.set(job as never, want as never)
    for (const scope of frozen) ledger.frozen.add(scope)
    for (const { marks, ...attempt } of attempts) {
      const restored = { ...attempt, marks: new Map(marks) } as unknown as Attempt
      ledger.attempts.set(restored.id, restored)
      indexed(ledger, restored)
    }
    return ledger
  }
}

const byId = <T extends { readonly id: string }>(things: Iterable<T>): ReadonlyArray<T> =>
  [...things].sort((left, right) => (left.id < right.id ? -1 : 1))

const byKey = <V>(entries: Iterable<readonly [string, V]>): ReadonlyArray<readonly [string, V]> =>
  [...entries].sort(([left], [right]) => (left < right ? -1 : 1))

const plain = (value: unknown): unknown =>
  typeof value === "bigint" ? value.toString()
    : Array.isArray(value) ? value.map(plain)
    : typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value).filter(([, held]) => held !== undefined).map(([key, held]) => [key, plain(held)]))
    : value

/** Amounts are the fields whose names say so. */
const withAmounts = (value: unknown, name = ""): unknown =>
  typeof value === "string" && (name.endsWith("Pico") || name === "picoPerUnit") ? BigInt(value)
    : Array.isArray(value) ? value.map((held) => withAmounts(held))
    : typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value).map(([key, held]) => [key, withAmounts(held, key)]))
    : value
