import { deriveId } from "@millrace/decider"
import type { Digest, FactId, HostId, LeaseId, MillFact, Principal, ProviderName, Resources, Subject } from "@millrace/schemas"
import { subjectText } from "@millrace/schemas"
import type { Broker, Chance } from "@millrace/sim"

const provider = "sky" as ProviderName

export interface LenderOptions {
  readonly broker: Broker
  readonly chance: Chance
  readonly hostId: HostId
  readonly resources: Resources
  readonly forMs: number
  /** The machine is there: its agent begins. */
  readonly comes: () => void
  /** The machine is gone, with all that it runs. */
  readonly goes: () => void
}

/**
 * What a broker would say of one rented machine, over its whole life: it is asked for, comes, and goes again, with a
 * notice of its provider's, without one, or because it is wanted no longer.
 */
export const lend = ({ broker, chance, comes, forMs, goes, hostId, resources }: LenderOptions): void => {
  const leaseId = deriveId<LeaseId>("lse", broker.time.nowMs, hostId)
  const which = { leaseId, provider }
  const say = (event: MillFact, subject: Subject = { kind: "machine", scope: provider, story: leaseId }, actor = "service:broker"): void => {
    const text = subjectText(subject)
    const id = deriveId<FactId>("fct", broker.time.nowMs, text, event._tag)
    broker.store({ subject, actor: actor as Principal, happenedAtMs: broker.time.nowMs, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence: broker.log.lastOn(text) })
  }
  const cameMs = chance.between(2_000, Math.floor(forMs / 4))
  const goneMs = chance.between(Math.floor(forMs / 2), Math.floor(forMs * 0.9))
  const how = chance.oneOf(["noticed", "noticed", "sudden", "released"] as const)
  const noticeMs = chance.oneOf([15_000, 40_000])
  // What is for rent is known, so that what no machine could run would be refused.
  const digest = `sha256:${"0".repeat(64)}` as Digest
  const row = { machineType: "t4", market: "spot" as const, resources, gpuModel: "NVIDIA T4", gpuMemoryMib: 15_360, pricePicoPerSecond: 1_000n, regions: ["eu-1"], fabric: true }
  say({ _tag: "OffersObserved", provider, observedAtMs: broker.time.nowMs, offers: { digest, sizeBytes: 1 }, count: 1, source: "simulated", rows: [row] }, { kind: "market", scope: provider })
  say({
    _tag: "LeaseRequested", ...which, column: { region: "eu-1", zone: "zb", machineType: "t4", market: "spot" }, resources, gpuModel: "NVIDIA T4", fabric: chance.happens(0.5),
    pricePicoPerSecondMax: 1_000n, token: leaseId, cell: "simulated", oneTimeKeyDigest: digest, answerByMs: broker.time.nowMs + forMs
  })
  broker.time.after(cameMs, () => {
    say({ _tag: "LeaseGranted", ...which, machine: "i-1", region: "eu-1", pricePicoPerSecond: 1_000n, quote: { source: "simulated", readAtMs: broker.time.nowMs }, billedStepMs: 1_000, billedMsMin: 0 })
    say({ _tag: "HostAdmitted", hostId, publicKey: `U${"A".repeat(55)}`, admittedBy: "service:broker" as Principal, oneTimeKeyDigest: "none" }, { kind: "admission", scope: "cell" }, "service:access")
    say({ _tag: "MachineEnrolled", ...which, hostId })
    broker.sometimes.saw("a machine was rented")
    comes()
  })
  if (how === "noticed") broker.time.after(goneMs - noticeMs, () => say({ _tag: "ReclaimNoticed", ...which, hostId, deadlineAtMs: broker.time.nowMs + noticeMs }))
  if (how === "released") broker.time.after(goneMs - noticeMs, () => say({ _tag: "LeaseReleased", ...which, cause: "idle" }))
  broker.time.after(goneMs, () => {
    goes()
    broker.sometimes.saw(how === "released" ? "a machine was given back" : how === "noticed" ? "a machine was taken back" : "a machine was taken back without a word")
    say({ _tag: "LeaseEnded", ...which, confirmed: how === "released" ? "terminated" : "reclaimed", endedAtMs: broker.time.nowMs, costPico: 0n })
  })
}
