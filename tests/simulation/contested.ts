import { deriveId } from "@millrace/decider"
import type { AskId, Capabilities, FactId, HostId, JobId, MillFact, Principal, QuotaLimit, QuotaTerms, Subject, WorkspaceName } from "@millrace/schemas"
import { priorityClasses, subjectText } from "@millrace/schemas"
import type { Broker, Chance, SimulatedProcess } from "@millrace/sim"
import type { JobRequest } from "../../services/gateway/src/domain/request.ts"

/** Virtual minutes in which jobs come: long enough that work may give way, which it may not in its first minute. */
export const contestedMinutes = 2.5
export const contestedJobs = 20
/** How many of them are submitted under a grant, which holds back what would fight. */
export const contestedUnderGrant = 0.15
/** The hosts that stay. One more is rented for a while. */
export const contestedHosts = 3

const owner = "user:ada" as Principal

const sizes = [{ cpuMilli: 4_000, gpus: 2 }, { cpuMilli: 3_000, gpus: 1 }, { cpuMilli: 2_000, gpus: 1 }] as const

const capableOf = (cpuMilli: number, gpus: number, labels: Capabilities["labels"]): Capabilities => ({
  resources: { cpuMilli, memoryMib: 4_096, diskMib: 10_000, gpus },
  gpus: Array.from({ length: gpus }, (_, device) => ({ index: device, model: "NVIDIA T4", memoryMib: 15_360 })),
  runtimes: ["noop", "process"],
  trusts: ["own"],
  labels
})

/**
 * Hosts that are told apart by what joins them. The first could run any of these jobs, or any gang that asks for one
 * host; the first two any other gang; so that nobody waits for ever.
 */
export const contestedCapabilities = (chance: Chance, index: number): Capabilities => {
  const { cpuMilli, gpus } = sizes[index % sizes.length]!
  const joined = index % sizes.length < 2 ? { fabric: "x", zone: "za" } : { fabric: "y", zone: "zb" }
  return capableOf(cpuMilli, index < 2 ? gpus : chance.between(0, gpus), { ...joined, provider: "own", address: `10.0.0.${index + 1}` })
}

/** The rented one has the settings that all rented hosts have; where it is its lease says. */
export const rentedCapabilities: Capabilities = capableOf(4_000, 2, {})

/** Jobs of every urgency, some for longer than what is spared, and gangs of every topology that a cell like this has. */
export const contestedRequest = (chance: Chance): JobRequest => {
  const gang = chance.happens(0.35) ? gangOf(chance) : undefined
  const gpu: { readonly gpus: number; readonly gpuMilli?: number } = chance.oneOf([{ gpus: 0 }, { gpus: 0 }, { gpus: 0 }, { gpus: 1 }, { gpus: 0, gpuMilli: chance.between(1, 3) * 250 }])
  // Three members of a gang find no three devices on one host, nor three large parts of two.
  const tooMany = gang !== undefined && gang.members > 2 && (gpu.gpus > 0 || (gang.topology === "host" && (gpu.gpuMilli ?? 0) > 500))
  const devices = tooMany ? { gpus: 0 } : gpu
  const { high, low, normal, urgent } = priorityClasses
  const priority = chance.oneOf([{}, { priority: low }, { priority: low }, { priority: normal }, { priority: high }, { priority: urgent }])
  return {
    runtime: chance.happens(0.1) ? "noop" : "process",
    trust: "own",
    resources: { cpuMilli: chance.between(1, gang === undefined ? 4 : 2) * 500, memoryMib: chance.between(1, 4) * 128, diskMib: 0, ...devices },
    argv: ["work"],
    env: {},
    labels: {},
    attemptsMax: chance.between(1, 3),
    runMsMax: chance.oneOf([15_000, 300_000, 300_000, 300_000]),
    onSilence: { keepMs: chance.oneOf([0, 4_000, 8_000]) },
    ...priority,
    // What does not tolerate it keeps off the rented machine.
    ...chance.oneOf([{}, { where: { spot: "tolerated" as const } }, { where: { spot: "tolerated" as const } }, { where: { spot: "rather" as const } }]),
    ...(chance.happens(0.08) ? { queueMsMax: chance.between(5_000, 60_000) } : {}),
    ...(gang !== undefined ? { gang } : chance.happens(0.2) ? { array: { tasks: chance.between(2, 4), ...(chance.happens(0.3) ? { failuresMax: 1 } : {}) } } : {})
  }
}

/** When somebody asks: of one workspace most at the beginning, and of the others later, who find what is theirs borrowed. */
export const contestedAtMs = (chance: Chance, first: boolean, forMs: number): number =>
  first && chance.happens(0.7) ? chance.between(0, Math.floor(forMs * 0.2)) : chance.between(Math.floor(forMs * (first ? 0 : 0.45)), Math.floor(forMs * 0.8))

const gangOf = (chance: Chance): NonNullable<JobRequest["gang"]> => ({
  members: chance.between(2, 3),
  topology: chance.oneOf(["host", "fabric", "fabric", "zone", "provider", "anywhere"]),
  onLoss: chance.happens(0.6) ? "restart" : "end"
})

/** How long work lasts that nobody ends, in ms. */
export const contestedMs = (chance: Chance): number =>
  chance.oneOf([() => chance.between(1, 800), () => chance.between(2_000, 20_000), () => chance.between(65_000, 140_000), () => chance.between(65_000, 140_000)])()

const say = (broker: Broker, subject: Subject, event: MillFact, actor: Principal = owner): void => {
  const id = deriveId<FactId>("fct", broker.time.nowMs, subjectText(subject), event._tag, broker.log.lastOn(subjectText(subject)))
  broker.store({ subject, actor, happenedAtMs: broker.time.nowMs, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence: broker.log.lastOn(subjectText(subject)) })
}

const asking = (broker: Broker, workspace: WorkspaceName) => ({
  askId: deriveId<AskId>("ask", broker.time.nowMs, workspace, broker.log.head("GATEWAY")), workspace, askedBy: owner, decision: { rule: "role.owner", view: {} }
})

/**
 * What people ask of quotas and priorities in one run. Whatever they say, each workspace is due enough for the largest
 * piece of its work; so what waits for its quota waits for others' work to end, and not for ever.
 */
export const askForShares = (broker: Broker, chance: Chance, workspaces: ReadonlyArray<WorkspaceName>, forMs: number): void => {
  // What one of a cohort names is limited for all of it, so all name the same.
  const gpusToo = chance.happens(0.5)
  const ask = (workspace: WorkspaceName) =>
    say(broker, { kind: "ask", scope: workspace }, { _tag: "QuotaAsked", ...asking(broker, workspace), node: `workspace/${workspace}`, terms: termsOf(chance, gpusToo) })
  const quotas = chance.happens(0.75)
  for (const workspace of workspaces) if (quotas && chance.happens(0.9)) ask(workspace)
  if (chance.happens(0.4)) broker.time.after(chance.between(Math.floor(forMs / 4), forMs), () => ask(chance.oneOf(workspaces)))
  const submitted: Array<{ readonly jobId: JobId; readonly workspace: WorkspaceName }> = []
  broker.onStored(({ facts }) => {
    for (const { event } of facts) if (event._tag === "Success" && event.success._tag === "JobSubmitted") submitted.push(event.success)
  })
  for (let asks = chance.between(0, 2); asks > 0; asks -= 1) {
    broker.time.after(chance.between(Math.floor(forMs / 4), forMs), () => {
      if (submitted.length === 0) return
      const { jobId, workspace } = chance.oneOf(submitted)
      say(broker, { kind: "ask", scope: workspace }, { _tag: "PriorityAsked", ...asking(broker, workspace), jobId, priority: chance.oneOf([20, 50, 80, 95]) })
    })
  }
}

const termsOf = (chance: Chance, gpusToo: boolean): QuotaTerms => {
  const limit = (dimension: QuotaLimit["dimension"], nominal: number, step: number): QuotaLimit => ({
    dimension, nominal,
    ...(chance.happens(0.3) ? { borrowingMax: chance.between(0, 6) * step } : {}),
    ...(chance.happens(0.3) ? { lendingMax: chance.between(0, 6) * step } : {})
  })
  return {
    ...(chance.happens(0.8) ? { parent: "cohort/all" } : {}),
    weight: chance.between(1, 3),
    priorityMax: chance.oneOf([50, 80, 95]),
    limits: [limit("cpuMilli", chance.between(6, 7) * 500, 500), ...(gpusToo ? [limit("gpuMilli", 2_500, 500)] : [])]
  }
}

/**
 * A GPU behaves badly for a while. Its agent says so with its last breath, and so does the next one when it has passed
 * its test: whoever else spoke on the host's subject beside a living agent would end that.
 */
export const suspectGpu = (broker: Broker, chance: Chance, hosts: ReadonlyArray<{ readonly hostId: HostId; readonly capabilities: Capabilities; readonly process: SimulatedProcess }>, forMs: number): void => {
  if (!chance.happens(0.4)) return
  const { capabilities, hostId, process } = chance.oneOf(hosts.filter((host) => host.capabilities.gpus.length > 0))
  const gpu = chance.oneOf(capabilities.gpus).index
  const last = (event: MillFact) => () => {
    process.life?.end()
    say(broker, { kind: "host", scope: hostId }, event, `host:${hostId}` as Principal)
    broker.sometimes.saw(event._tag)
  }
  const fromMs = chance.between(0, Math.floor(forMs * 0.5))
  broker.time.after(fromMs, last({ _tag: "GpuSuspected", hostId, gpu, symptom: "slow" }))
  broker.time.after(fromMs + chance.between(5_000, Math.floor(forMs * 0.4)), last({ _tag: "GpuCleared", hostId, gpu, test: "a probe ran" }))
}
