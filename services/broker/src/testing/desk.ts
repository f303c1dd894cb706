import { deriveId, namedId } from "@millrace/decider"
import { commitsOf, foldCommit, foreseen, type StoredCommit } from "@millrace/journal"
import {
  type BrokerTookOver, type DemandClass, type Digest, type FactId, type HostId, type LeaseGranted, type LeaseId, type MillFact, type Offer, type OffersObserved, Principal, type ProviderName, type StreamName,
  type Subject
} from "@millrace/schemas"
import { broker } from "../domain/broker.ts"
import type { State } from "../domain/state.ts"
import { withKeyDigests } from "../reactors/one-time-key.ts"
import { Redacted } from "effect"

export const provider = "lambda" as ProviderName
export const cents = (perHour: bigint) => (perHour * 10_000_000_000n) / 3600n

export const offer = (machineType: string, { cores = 1, gpuModel, gpus = 0, price = 6n, regions = ["here"] }: {
  readonly cores?: number
  readonly gpus?: number
  readonly gpuModel?: string
  readonly price?: bigint
  readonly regions?: ReadonlyArray<string>
} = {}, more: Partial<Offer> = {}): Offer => ({
  machineType,
  market: "on_demand",
  resources: { cpuMilli: cores * 1000, memoryMib: cores * 1024, diskMib: 1000, gpus },
  ...(gpuModel === undefined ? {} : { gpuModel }),
  pricePicoPerSecond: cents(price),
  regions,
  ...more
})

export const observed = (...rows: ReadonlyArray<Offer>): OffersObserved => ({
  _tag: "OffersObserved", provider, observedAtMs: 0, offers: { digest: `sha256:${"0".repeat(64)}` as Digest, sizeBytes: 1 }, count: rows.length, source: "a list", rows
})

export const waits = (waiting: number, more: Partial<typeof DemandClass.Type> = {}): MillFact => ({
  _tag: "DemandChanged", classes: [{ cpuMilli: 800, memoryMib: 500, gpus: 0, gpuModels: [], waiting, oldestSinceMs: 0, ...more }]
})

export const tookOver = (more: Partial<BrokerTookOver> = {}): MillFact => ({
  _tag: "BrokerTookOver", term: 1, broker: Principal.make("service:broker"), codeVersion: "1", cell: "test", machinesMax: 10, spendPicoPerHourMax: 10n ** 15n,
  answerMsMax: 60_000, bootMsMax: 120_000, idleMsMax: 30_000, ...more
})

const about = (event: MillFact): readonly [Subject, StreamName] => {
  switch (event._tag) {
    case "DemandChanged":
      return [{ kind: "demand", scope: "cell" }, "SCHEDULER"]
    case "BrokerTookOver":
      return [{ kind: "brokerage", scope: "cell" }, "BROKER"]
    case "OffersObserved":
    case "ProviderSuspended":
    case "ProviderResumed":
      return [{ kind: "market", scope: event.provider }, "BROKER"]
    case "PlanChosen":
      return [{ kind: "plan", scope: "cell" }, "BROKER"]
    case "HostAdmitted":
      return [{ kind: "admission", scope: "cell" }, "ACCESS"]
    case "HostDeclaredLost":
    case "PlacementMade":
      return [{ kind: "fleet", scope: "cell" }, "SCHEDULER"]
    case "HostJoined":
      return [{ kind: "host", scope: event.hostId }, "HOSTS"]
    default:
      return [{ kind: "machine", scope: (event as { provider: string }).provider, story: (event as { leaseId: string }).leaseId }, "BROKER"]
  }
}

/** A broker whose log is a list. */
export class Desk {
  state: State = broker.initial()
  readonly log: Array<StoredCommit> = []
  readonly saw: Record<string, number> = {}

  hear(atMs: number, ...events: ReadonlyArray<MillFact>): this {
    for (const event of events) {
      const [subject, stream] = about(event)
      const sequence = (this.saw[stream] ?? 0) + 1
      const id = deriveId<FactId>("fct", atMs, stream, sequence)
      const decided = { saw: { HOSTS: this.saw["HOSTS"] ?? 0, ACCESS: this.saw["ACCESS"] ?? 0 }, decidedAtMs: atMs, ordinal: 0, of: 1 }
      this.#fold(foreseen({ subject, actor: Principal.make("service:test"), happenedAtMs: atMs, facts: [{ id, partOf: id, event }], decided }, stream, sequence, 1))
    }
    return this
  }

  decide(atMs: number): ReadonlyArray<MillFact> {
    const round = { atMs, epoch: 1, saw: { ...this.saw }, silences: [] }
    return commitsOf(broker, round as never, broker.decide(this.state, round as never)).map(withKeyDigests(secret)).flatMap((commit) => {
      this.#fold(foreseen(commit, "BROKER", (this.saw["BROKER"] ?? 0) + 1, 1))
      return commit.facts.map(({ event }) => event)
    })
  }

  #fold(commit: StoredCommit): void {
    this.log.push(commit)
    this.saw[commit.place.stream] = commit.place.sequence
    this.state = foldCommit(broker, this.state, commit)
  }
}

const secret = Redacted.make("a secret of the test")

export const given = (...events: ReadonlyArray<MillFact>): Desk => new Desk().hear(0, tookOver(), ...events)
export const wanted = (facts: ReadonlyArray<MillFact>) => facts.flatMap((fact) => (fact._tag === "LeaseRequested" ? [`${fact.column.machineType}@${fact.column.region}`] : []))
export const tags = (facts: ReadonlyArray<MillFact>) => facts.map((fact) => ("cause" in fact ? `${fact._tag} ${fact.cause}` : fact._tag))

export const granted = (leaseId: LeaseId, more: Partial<LeaseGranted> = {}): MillFact => ({
  _tag: "LeaseGranted", leaseId, provider, machine: `m-${leaseId}`, region: "here", pricePicoPerSecond: cents(6n), quote: { source: "a list", readAtMs: 0 }, billedStepMs: 60_000, billedMsMin: 60_000, ...more
})
export const firstLease = (desk: Desk): LeaseId => [...desk.state.leases.keys()][0]!
const hostNamed = (name: string): HostId => namedId<HostId>("hst", name)
export const admitted = (oneTimeKeyDigest: string, name = "one"): MillFact => ({ _tag: "HostAdmitted", hostId: hostNamed(name), publicKey: `U${"A".repeat(55)}`, admittedBy: Principal.make("service:access"), oneTimeKeyDigest })
export const joinedAs = (name: string, resources: { readonly cpuMilli: number; readonly memoryMib: number; readonly gpus: number }): MillFact => ({
  _tag: "HostJoined", hostId: hostNamed(name), bootId: "b", agentVersion: "1",
  capabilities: { resources: { diskMib: 0, ...resources }, gpus: [], runtimes: [], trusts: [], labels: {} }
})
export const joined = joinedAs("one", { cpuMilli: 1000, memoryMib: 900, gpus: 0 })
export const digestOf = (desk: Desk, id: LeaseId = firstLease(desk)): string => desk.state.leases.get(id)!.requested!.fact.oneTimeKeyDigest
