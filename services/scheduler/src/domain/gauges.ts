import { accountOf, type Link } from "@millrace/authority"
import { amountsOf } from "./fair/amounts.ts"
import type { QuotaTree } from "./fair/tree.ts"
import { nodeOf } from "./quotas.ts"
import { gpuMilliOf } from "./resources.ts"
import type { Gauge } from "./standstill.ts"
import { tasksOf } from "./tasks.ts"
import type { JobState, World } from "./world.ts"

/**
 * All that is counted and that the next piece of a job is measured against. As long as each of them is where it was,
 * above or below what the piece needs, money and limits and quotas say the same of it.
 */
export const gaugesOf = (world: World, job: JobState, links: ReadonlyArray<Link>, sharePico: bigint | undefined): ReadonlyArray<Gauge> => {
  const { fact: { grant, spec: { resources }, workspace } } = job.submitted!
  return [...sharePico === undefined ? [] : ofMoney(accountOf(world.authority, workspace, grant), sharePico), ...links.flatMap((link) => ofGrant(job, link, sharePico ?? 0n)), ...ofQuota(world.index.ledger.tree, nodeOf(workspace), resources)]
}

const ofMoney = (account: ReturnType<typeof accountOf>, need: bigint): ReadonlyArray<Gauge> => [{ key: `money ${account}`, need, has: ({ purse }) => purse.mostFree(account) }]

const ofGrant = (job: JobState, { grantId, reach: { constraints: { concurrencyMax, gpusMax, spendPicoMax, usesMax } } }: Link, sharePico: bigint): ReadonlyArray<Gauge> => [
  ...(usesMax === undefined || job.next > 0 ? [] : [{ key: `uses ${grantId}`, need: tasksOf(job), has: ({ purse }) => usesMax - purse.uses(grantId) } satisfies Gauge]),
  ...(concurrencyMax === undefined ? [] : [{ key: `running ${grantId}`, need: 1, has: ({ purse }) => concurrencyMax - purse.running(grantId) } satisfies Gauge]),
  ...(gpusMax === undefined ? [] : [{ key: `gpus ${grantId}`, need: gpuMilliOf(job.submitted!.fact.spec.resources), has: ({ purse }) => gpusMax * 1000 - purse.gpuMilli(grantId) } satisfies Gauge]),
  ...(spendPicoMax === undefined ? [] : [
    { key: `spent ${grantId}`, need: sharePico, has: ({ purse }) => spendPicoMax - purse.committedPico(grantId) } satisfies Gauge,
    { key: `promised ${grantId}`, need: sharePico, has: ({ purse }) => spendPicoMax - purse.committedPico(grantId) - purse.promisedPico(grantId) } satisfies Gauge
  ])
]

const ofQuota = (tree: QuotaTree, node: string, resources: Parameters<typeof amountsOf>[0]): ReadonlyArray<Gauge> => {
  const amounts = amountsOf(resources)
  return [...tree.limitedFor(node)].flatMap((dimension) => {
    const need = dimension.startsWith("gpuMilli/") ? gpuMilliOf(resources) : amounts.get(dimension) ?? 0
    return need === 0 ? [] : [{ key: `quota ${node} ${dimension}`, need, has: ({ ledger }) => ledger.available(node, dimension) } satisfies Gauge]
  })
}
