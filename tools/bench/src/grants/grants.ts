import { type Ask, decide, emptyView, evolve, resourceOf, type View } from "@millrace/authority"
import { namedId } from "@millrace/decider"
import type { GrantId, Principal, Reach, WorkspaceName } from "@millrace/schemas"
import { Effect } from "effect"
import type { Bench } from "../main.ts"

const acme = "acme" as WorkspaceName
const owner = "user:ada" as Principal
const agentOf = (name: number) => `agent:a${name}` as Principal
const grantOf = (name: number) => namedId<GrantId>("grt", name)

/** Each third grant is a root, with one below it and one below that. */
const linksMax = 3

/**
 * What one decision at a gate costs: a chain of three links, its actions, resources and limits, over views
 * that hold ever more grants. Asked in an order that no cache foresees. The floor is looking the grant up.
 */
export const bench = ({ quick, say }: Bench) =>
  Effect.sync(() =>
    (quick ? [10_000] : [10_000, 100_000, 1_000_000]).map((grants) => {
      const beforeBytes = process.memoryUsage().heapUsed
      const foldedMs = performance.now()
      const view = viewOf(grants)
      const foldMs = performance.now() - foldedMs
      const asks = asksOf(grants)
      say(`${grants} grants are folded`)
      for (const ask of asks.slice(0, 20_000)) decide(view, ask, 1)
      const decideUs = usEach(asks, (ask) => void decide(view, ask, 1))
      const floorUs = usEach(asks, (ask) => void view.grants.get(ask.grant as GrantId))
      return { grants, decideUs, lookUpUs: floorUs, foldMs: Math.round(foldMs), bytesEach: Math.round((process.memoryUsage().heapUsed - beforeBytes) / grants) }
    }))

const usEach = (asks: ReadonlyArray<Ask>, work: (ask: Ask) => void): number => {
  const startedMs = performance.now()
  for (const ask of asks) work(ask)
  return Number(((performance.now() - startedMs) * 1000 / asks.length).toFixed(2))
}

const reachWith = (depthMax: number): Reach => ({
  actions: ["job.*", "grant.delegate"], resources: ["workspace/acme", "workspace/acme/*"],
  constraints: { cpuMilliMax: 4_000, memoryMibMax: 4_096, gpusMax: 0, egress: [], spendPicoMax: 50_000_000_000n },
  notBeforeMs: 0, expiresAtMs: 1_000_000, depthMax
}) as unknown as Reach

const viewOf = (grants: number): View => {
  const view = emptyView()
  evolve(view, { _tag: "RoleBound", workspace: acme, principal: owner, role: "owner", boundBy: owner })
  for (let name = 0; name < grants; name += 1) {
    const depth = name % linksMax
    const tree = grantOf(name - depth)
    const common = { workspace: acme, tree, grantId: grantOf(name), holder: agentOf(name), reach: reachWith(linksMax - depth), reason: "a bench" }
    evolve(view, depth === 0
      ? { _tag: "GrantIssued", ...common, issuer: owner, durable: false }
      : { _tag: "GrantDelegated", ...common, issuer: agentOf(name - 1), parent: grantOf(name - 1), depth })
  }
  return view
}

/** The last links of the chains, far apart from each other. */
const asksOf = (grants: number): ReadonlyArray<Ask> =>
  Array.from({ length: 200_000 }, (_, turn): Ask => {
    const name = Math.min(grants - 1, (turn * 7_919 % Math.floor(grants / linksMax)) * linksMax + linksMax - 1)
    return {
      principal: agentOf(name), workspace: acme, action: "job.submit", resource: resourceOf(acme, "job", "one"), grant: grantOf(name),
      needs: { cpuMilli: 1_000, memoryMib: 256, gpus: 0, egress: [], spendPico: 1_000n }
    }
  })
