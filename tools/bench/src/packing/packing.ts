import { Fleet, type Host } from "@millrace/packing"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import type { Bench } from "../main.ts"
import { type Filled, filled, firstFit, gradientDescent, type Policy } from "./baselines.ts"
import { type Arrival, arrivalsOf, drawn, hostsOf, requestOf, textOf } from "./openb.ts"

/** So much of what there is, is asked for in all. */
const loadShare = 1.3

/**
 * How much of a fleet is given out when as much has been asked for as there is: ours, which learns what is typical as
 * it comes, beside fragmentation gradient descent, which knows it beforehand, and first fit. Nothing leaves.
 */
export const bench = ({ packing: { arrivals, nodes, placements, pods, seeds }, say }: Bench) =>
  Effect.sync(() => {
    if (nodes === undefined || (arrivals === undefined) === (pods === undefined)) throw new Error("say --nodes FILE, and either --arrivals FILE or --pods FILE (with --seed N, or --seed N-M for their mean)")
    const hosts = hostsOf(textOf(nodes))
    const capacityMilli = hosts.reduce((sum, { gpus }) => sum + gpus * 1000, 0)
    const streams = arrivals === undefined
      ? seeds.map((seed) => ({ name: `seed ${seed}`, of: drawn(textOf(pods!), seed, loadShare * capacityMilli) }))
      : [{ name: arrivals, of: arrivalsOf(textOf(arrivals)) }]
    const runs = streams.map(({ name, of }, at) => {
      const ours = filled(hosts, of, best(hosts))
      if (at === 0 && placements !== undefined) writeFileSync(placements, of.map((arrival, n) => lineOf(hosts, arrival, ours.puts[n])).join(""))
      const run = { ours, fgd: filled(hosts, of, gradientDescent(hosts, of)), firstFit: filled(hosts, of, firstFit(hosts)) }
      say(`${name}: ${Object.entries(run).map(([policy, { allocationPercent }]) => `${policy} ${allocationPercent.toFixed(2)} %`).join(", ")}`)
      return run
    })
    return {
      hosts: hosts.length,
      gpus: capacityMilli / 1000,
      arrivals: streams.map(({ of }) => of.length),
      ours: figuresOf(runs.map(({ ours }) => ours)),
      fgd: figuresOf(runs.map(({ fgd }) => fgd)),
      firstFit: figuresOf(runs.map((run) => run.firstFit))
    }
  })

/** The function that the scheduler places by. */
const best = (hosts: ReadonlyArray<Host>): Policy => {
  const fleet = new Fleet()
  for (const host of hosts) fleet.addHost(host)
  const placeOf = new Map(hosts.map(({ id }, place) => [id, place]))
  return (arrival) => {
    const request = requestOf(arrival)
    fleet.mix.learn(request)
    const choice = fleet.choose(request)
    if (choice === undefined) return undefined
    fleet.take(choice.host, choice.placed)
    return { host: placeOf.get(choice.host)!, gpus: choice.placed.gpus }
  }
}

const lineOf = (hosts: ReadonlyArray<Host>, { i }: Arrival, put: Filled["puts"][number]): string =>
  `${JSON.stringify(put === undefined ? { i, node: null } : { i, node: hosts[put.host]!.id, gpus: put.gpus })}\n`

const figuresOf = (runs: ReadonlyArray<Filled>) => {
  const mean = (of: (run: Filled) => number) => runs.reduce((sum, run) => sum + of(run), 0) / runs.length
  return {
    allocationPercent: Number(mean(({ allocationPercent }) => allocationPercent).toFixed(3)),
    decisionsPerSecond: Math.round(mean(({ decisionsPerSecond }) => decisionsPerSecond)),
    placed: mean(({ placed }) => placed),
    refused: mean(({ refused }) => refused),
    ...(runs.length > 1 ? { each: runs.map(({ allocationPercent }) => Number(allocationPercent.toFixed(2))) } : {})
  }
}
