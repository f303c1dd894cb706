import { estimate } from "@millrace/pricing"
import { missedBy, type Price, wishMetBy } from "@millrace/schemas"
import { Effect } from "effect"
import { Command } from "effect/cli"
import type { JobRequest } from "@millrace/gateway/api"
import type { OfferView } from "../../../../services/broker/src/api/api.ts"
import type { AccountView, PriceView } from "../../../../services/metering/src/api/api.ts"
import type { PlanView } from "../../../../services/scheduler/src/api/api.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { dollarsExact, dollarsShort } from "../money.ts"
import type { Origin } from "../origin.ts"
import { output, say, sayJson, table } from "../print.ts"
import { argv, jobFlags, requestOf } from "../request.ts"
import { endedWith } from "../trouble.ts"

type Offer = typeof OfferView.Type
type Account = typeof AccountView.Type
type Foreseen = typeof PlanView.Type

const offersShown = 3

/** What becomes of a plan: it would be placed at once, it would wait, or nothing here or for rent could ever run it. */
export type Verdict = "now" | "later" | "never"

/** What a plan tells of a job that was not submitted. */
export interface Planned {
  readonly verdict: Verdict
  readonly sentence: string
  readonly roomNow: number
  readonly price: { readonly mostPico: string; readonly arithmetic: string } | null
  readonly nearest: Foreseen["nearest"]
  readonly changes: ReadonlyArray<string>
  /** A quota, a grant or a budget that keeps it from being placed, whatever room there is. */
  readonly limits: ReadonlyArray<{ readonly kind: "quota" | "grant" | "budget"; readonly never: boolean; readonly sentence: string }>
  /** The cheapest that could be rented and would do. */
  readonly offers: ReadonlyArray<Offer>
}

/** The offers that such work could run on, the cheapest first. */
export const offersFor = ({ gang, gpu, resources: { cpuMilli, gpuMilli = 0, gpus, memoryMib }, where = {} }: Pick<JobRequest, "gpu" | "resources" | "where"> & { readonly gang?: JobRequest["gang"] | undefined }, offers: ReadonlyArray<Offer>): ReadonlyArray<Offer> => {
  // Members of one host want a machine for all of them.
  const each = gang?.topology === "host" ? gang.members : 1
  const devices = gpuMilli > 0 ? Math.ceil(each / Math.floor(1000 / gpuMilli)) : gpus * each
  const { only = {}, spot = "never" } = where
  return offers
    .filter((offer) => offer.cpuMilli >= cpuMilli * each && offer.memoryMib >= memoryMib * each && offer.gpus >= devices)
    .filter((offer) => devices === 0 || wishMetBy({ model: offer.gpuModel ?? "" }, gpu) >= 0)
    .filter((offer) => spot !== "never" || offer.market !== "spot")
    .filter(({ provider, regions }) => regions.some((region) => missedBy({ region, provider }, only).length === 0))
    .sort((left, right) => Number(BigInt(left.pricePicoPerHour) - BigInt(right.pricePicoPerHour)) || (left.machineType < right.machineType ? -1 : 1))
}

/** Puts together what the scheduler foresees, what prices say and what could be rented. */
export const planned = (request: JobRequest, foreseen: Foreseen, prices: ReadonlyArray<PriceView>, offers: ReadonlyArray<Offer>, accounts: ReadonlyArray<Account> = []): Planned => {
  const fitting = offersFor(request, offers)
  const { resources, runMsMax } = request
  const costOf = (tasks: number) => prices.length === 0 ? undefined : estimate({ prices: prices.map(priceOf) }, { held: resources, runMsMax, tasks })
  const cost = costOf(tasksOf(request) ?? 1)
  // The tasks of an array begin one by one; the members of a gang together.
  const atOnce = costOf(request.gang?.members ?? 1)
  const limits = [...foreseen.limits, ...(atOnce === undefined ? [] : accounts.flatMap((account) => overBudget(account, atOnce.totalPico)))]
  const never = limits.some(({ never }) => never) || (foreseen.verdict === "nowhere" && fitting.length === 0)
  const verdict = never ? "never" : foreseen.verdict === "now" && limits.length === 0 ? "now" : "later"
  return {
    verdict,
    limits,
    sentence: foreseen.verdict === "now" && limits.length > 0 ? `It would ${never ? "be refused" : "wait"}: ${limits[0]!.sentence}.` : foreseen.verdict === "nowhere" && !never ? `${foreseen.sentence} A machine that would do can be rented.` : foreseen.sentence,
    roomNow: foreseen.roomNow,
    price: cost === undefined ? null : { mostPico: String(cost.totalPico), arithmetic: cost.arithmetic },
    nearest: foreseen.nearest,
    changes: foreseen.changes,
    offers: verdict === "now" ? [] : fitting.slice(0, offersShown)
  }
}

/** What an account does not have for what begins at once: ever, or beyond what is spent. */
const overBudget = ({ account, availablePico, lentPico, limitPico, parent }: Account, needPico: bigint): Planned["limits"] => {
  if (parent !== null) return []
  if (needPico > BigInt(limitPico)) return [{ kind: "budget", never: true, sentence: `${account} may spend ${dollarsExact(limitPico)} in all, and this needs ${dollarsExact(String(needPico))} at once` }]
  const left = BigInt(availablePico) + BigInt(lentPico)
  return needPico <= left ? [] : [{ kind: "budget", never: false, sentence: `${account} has ${dollarsExact(String(left))} left, and this needs ${dollarsExact(String(needPico))} at once` }]
}

/** How many run at most: tasks of an array, or members of a gang. */
const tasksOf = ({ array, gang }: { readonly array?: JobRequest["array"] | undefined; readonly gang?: JobRequest["gang"] | undefined }): number | undefined => gang?.members ?? array?.tasks

const priceOf = ({ billedMsMin, billedStepMs, picoPerUnit, sku, unit }: PriceView): Price => ({ sku, unit: unit as Price["unit"], picoPerUnit: BigInt(picoPerUnit), billedMsMin, billedStepMs }) as Price

/** A plan for people. */
export const planText = ({ changes, limits, nearest, offers, price, sentence }: Planned): string =>
  [
    sentence,
    ...limits.filter(({ sentence: limit }) => !sentence.includes(limit)).map(({ kind, sentence: limit }) => `  ${kind}: ${limit}`),
    ...(price === null ? ["  its price is not known: no price book is in force"] : [`  at most ${dollarsExact(price.mostPico)}: ${price.arithmetic}`]),
    ...(nearest.length === 0 ? [] : ["", "Nearest to it:", table(["HOST", "STATE", "FITS", "LACKS"], nearest.map(({ fits, fitsWhenEmpty, hostId, lacks, state }) => [hostId, state, fits ? "now" : fitsWhenEmpty ? "when empty" : "never", lacks.join(", ") || "-"]))]),
    ...(offers.length === 0 ? [] : ["", "Could be rented:", table(["PROVIDER", "TYPE", "GPU", "DOLLARS AN HOUR", "REGIONS"], offers.map((one) => [one.provider, one.machineType, one.gpuModel ?? "-", dollarsShort(one.pricePicoPerHour), one.regions.join(",")]))]),
    ...(changes.length === 0 ? [] : ["", "What would change it:", ...changes.map((change) => `  ${change}`)])
  ].join("\n")

/** What the scheduler is asked about a request that says less than it will. */
const needOf = ({ array, gang, gpu, resources, runMsMax, runtime, trust = "own", where }: JobRequest) => ({
  resources, trust, runMsMax, ...(gang === undefined ? {} : { gang: { members: gang.members, topology: gang.topology } }), runtime: runtime ?? (trust === "own" ? "process" : "sandbox"),
  ...(gpu === undefined ? {} : { gpu }), ...(where === undefined ? {} : { where }), ...(array === undefined && gang === undefined ? {} : { tasks: tasksOf({ array, gang }) })
})

/** What is no more than nice to know does not keep a plan from being told. */
const orNothing = <A>(asked: Effect.Effect<A, unknown>, nothing: A): Effect.Effect<A> => Effect.orElseSucceed(asked, () => nothing)

const lookedUp = Effect.fnUntraced(function*(origin: Origin, request: JobRequest) {
  const foreseen = yield* origin.get<Foreseen>("/v1/plan", { need: JSON.stringify(needOf(request)) })
  const { prices } = yield* orNothing(origin.get<{ prices: ReadonlyArray<PriceView> }>("/v1/prices"), { prices: [] })
  const { offers } = yield* orNothing(origin.get<{ offers: ReadonlyArray<Offer> }>("/v1/capacity"), { offers: [] })
  const { accounts } = yield* orNothing(origin.get<{ accounts: ReadonlyArray<Account> }>("/v1/budgets"), { accounts: [] })
  return planned(request, foreseen, prices, offers, accounts)
})

export const plan = Command.make("plan", { ...jobFlags, output, ...apiFlags, argv }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* lookedUp(origin, yield* requestOf(given, given.argv))
    if (given.output === "json") sayJson(answer)
    else say(planText(answer))
    if (answer.verdict !== "now") return yield* endedWith(answer.verdict === "later" ? "later" : "never")
  }))).pipe(
  Command.withDescription("Say what would become of a job, and submit nothing: where it would go, what it would cost at most, what is short and what could be rented. Takes what submit takes."),
  Command.withShortDescription("what would become of a job, before it is submitted"),
  Command.withExamples([
    { command: "millrace plan --gpus 8 --gpu 'H100, A100-80GB' -- ./train", description: "Where it would go, or what is short" },
    { command: "millrace plan --cpu 4 -- ./report && millrace submit --cpu 4 -- ./report", description: "Submit only what has room now" }
  ])
)
