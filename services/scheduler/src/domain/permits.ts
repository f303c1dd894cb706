import { type Ask, decide as decideAuthority, type Decision, type Link, linksOf, resourceOf } from "@millrace/authority"
import type { Constraints, GrantId, JobSpec } from "@millrace/schemas"
import { counted as inNumber, gpuMilliOf } from "./resources.ts"
import { tasksOf } from "./tasks.ts"
import type { JobState, World } from "./world.ts"

/** What a job asks of authority each time that a part of it is placed. Exact counts are looked at apart. */
export const askOf = (job: JobState): Ask => {
  const { grant, jobId, spec, submittedBy, workspace } = job.submitted!.fact
  return {
    principal: submittedBy,
    workspace,
    action: "job.submit",
    resource: resourceOf(workspace, "job", jobId),
    ...(grant === undefined ? {} : { grant }),
    needs: needsOf(spec)
  }
}

/** What work asks of its grant's limits. What it does not name is narrowed to what the grant allows. */
export const needsOf = ({ egress, gpu, resources: { cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }, runMsMax, where }: Pick<JobSpec, "egress" | "gpu" | "resources" | "runMsMax" | "where">): NonNullable<Ask["needs"]> => ({
  cpuMilli, memoryMib, diskMib, gpus: Math.max(gpus, Math.ceil(gpuMilli / 1000)), runMs: runMsMax, egress: egress ?? [],
  gpuModels: (gpu ?? []).flatMap(({ model }) => model ?? []), providers: where?.only?.providers ?? [], regions: where?.only?.regions ?? []
})

/**
 * Whether the job's grant still allows it. A job without a grant was submitted under a role, and that was
 * decided at the door.
 */
export const permission = (world: World, job: JobState, atMs: number): Decision | undefined =>
  job.submitted?.fact.grant === undefined ? undefined : decideAuthority(world.authority, askOf(job), atMs)

/** Access may have said more than we have heard: the door knew of a grant that is not known here yet. */
export const isAhead = (world: World, job: JobState): boolean => {
  const { decision: { view }, grant } = job.submitted!.fact
  return grant !== undefined && (world.heard.get("ACCESS")?.sequence ?? 0) < (view["ACCESS"] ?? 0)
}

/** Whether the grant of a job holds, its beginning and its end aside: those are matters of time. */
export const standing = (world: World, job: JobState): boolean => {
  const { grant } = job.submitted!.fact
  const links = grant === undefined ? undefined : linksOf(world.authority, grant)
  if (links === undefined) return true
  const begins = Math.max(...links.map(({ reach: { notBeforeMs } }) => notBeforeMs))
  const { rule, verdict } = decideAuthority(world.authority, askOf(job), begins)
  return verdict === "allow" || rule === "link-expired"
}

export const linksFor = (world: World, job: JobState): ReadonlyArray<Link> => {
  const { grant } = job.submitted!.fact
  return grant === undefined ? [] : linksOf(world.authority, grant) ?? []
}

/** Why the exact limits of a delegation keep a task from being placed: for now, or for good. */
export type OverLimit =
  | { readonly _tag: "Waits"; readonly reason: "quota" | "budget"; readonly arithmetic: string }
  | { readonly _tag: "Never"; readonly decision: Decision }

/** What is counted along a delegation, with what this round has added. */
export interface Counted {
  readonly uses: (grant: GrantId) => number
  readonly running: (grant: GrantId) => number
  /** Thousandths of GPUs that run. */
  readonly gpuMilli: (grant: GrantId) => number
  readonly committedPico: (grant: GrantId) => bigint
  readonly promisedPico: (grant: GrantId) => bigint
}

/** Looks at uses, concurrency, GPUs and spend of every link: those are exact because all placing is one order. */
export const overLimit = (job: JobState, links: ReadonlyArray<Link>, sharePico: bigint, counted: Counted, begins: boolean): OverLimit | undefined => {
  const path = links.map(({ grantId }) => grantId)
  // The members of a gang begin together: what does not allow all of them never allows one.
  const together = job.submitted!.fact.spec.gang?.members ?? 1
  const needMilli = gpuMilliOf(job.submitted!.fact.spec.resources)
  for (const { grantId, reach: { constraints: { concurrencyMax, gpusMax, spendPicoMax, usesMax } } } of links) {
    const never = (reason: Decision["reason"], limit: string, needs: string, has: string): OverLimit => ({
      _tag: "Never",
      decision: {
        verdict: "deny", rule: "link-limit", reason, grantPath: path,
        missing: { action: askOf(job).action as never, resource: askOf(job).resource, limit, needs, has, narrowedBy: grantId }
      }
    })
    const uses = counted.uses(grantId) + tasksOf(job)
    if (usesMax !== undefined && begins && uses > usesMax) return never("uses", "usesMax", String(uses), String(usesMax))
    if (spendPicoMax !== undefined) {
      const spent = counted.committedPico(grantId) + sharePico
      const all = counted.committedPico(grantId) + sharePico * BigInt(together)
      if (all > spendPicoMax) return never("budget", "spendPicoMax", String(all), String(spendPicoMax))
      const promised = counted.promisedPico(grantId)
      if (spent + promised > spendPicoMax) {
        return { _tag: "Waits", reason: "budget", arithmetic: `${grantId} may spend ${spendPicoMax} pico-dollars: ${counted.committedPico(grantId)} are spent, ${promised} promised to what runs, and this needs ${sharePico} more` }
      }
    }
    const running = counted.running(grantId)
    if (concurrencyMax !== undefined && concurrencyMax < together) return never("concurrency", "concurrencyMax", String(together), String(concurrencyMax))
    if (concurrencyMax !== undefined && running + 1 > concurrencyMax) {
      return { _tag: "Waits", reason: "quota", arithmetic: `${grantId} may have ${concurrencyMax} running at once, and ${running} are` }
    }
    if (gpusMax === undefined || needMilli === 0) continue
    const gpuMilli = counted.gpuMilli(grantId)
    if (needMilli * together > gpusMax * 1000) return never("constraint", "gpusMax", String(needMilli * together / 1000), String(gpusMax))
    if (gpuMilli + needMilli > gpusMax * 1000) {
      return { _tag: "Waits", reason: "quota", arithmetic: `${grantId} may have ${inNumber(gpusMax, "GPU")} at once, and ${gpuMilli / 1000} run under it: ${needMilli / 1000} more are needed` }
    }
  }
  return undefined
}

const least = ["cpuMilliMax", "memoryMibMax", "diskMibMax", "gpusMax", "runMsMax", "usesMax", "concurrencyMax"] as const
const lists = ["gpuModels", "providers", "regions", "egress", "secrets"] as const

/** The limits of a whole delegation in one: of each the narrowest. */
export const narrowest = (links: ReadonlyArray<Link>): Constraints => {
  const all = links.map(({ reach }) => reach.constraints)
  const narrow: Record<string, unknown> = {}
  for (const limit of least) {
    const set = all.flatMap((constraints) => constraints[limit] ?? [])
    if (set.length > 0) narrow[limit] = Math.min(...set)
  }
  const spend = all.flatMap(({ spendPicoMax }) => spendPicoMax ?? [])
  if (spend.length > 0) narrow["spendPicoMax"] = spend.reduce((less, other) => (other < less ? other : less))
  for (const limit of lists) {
    const set = all.flatMap((constraints) => constraints[limit] === undefined ? [] : [constraints[limit] as ReadonlyArray<string>])
    if (set.length > 0) narrow[limit] = set.reduce((kept, other) => kept.filter((one) => other.includes(one)))
  }
  return narrow as Constraints
}
