import { Effect } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { CapacityView, LeaseView, PlanView, ReapView } from "../../../../services/broker/src/api/api.ts"
import { asking } from "../asking.ts"
import { type Bill, heldAgainst } from "../bill-file.ts"
import { apiFlags } from "../door.ts"
import { after, at, limit, queryOf, something } from "../flags.ts"
import { dollarsExact, dollarsShort } from "../money.ts"
import { output, say, sayJson, table } from "../print.ts"
import { fieldsText, orDash, timeText } from "../render.ts"
import { Trouble } from "../trouble.ts"

const read = { at, after, output, ...apiFlags }
type Given = Command.Command.Config.Infer<typeof read>
type Capacity = typeof CapacityView.Type

/** One look at all capacity; each command shows a part of it. */
const looking = (given: Given, part: (capacity: Capacity) => unknown, text: (capacity: Capacity) => string) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const capacity = yield* origin.get<Capacity>("/v1/capacity", queryOf({ after, at }))
    return given.output === "json" ? sayJson(part(capacity)) : say(text(capacity))
  }))

const overview = (given: Given) =>
  looking(given, (capacity) => capacity, ({ bounds, leaks, open, providers }) => [
    fieldsText([
      ["machines", `${open.machines}${bounds === null ? "" : ` of at most ${bounds.machinesMax}`}`],
      ["cost an hour", `${dollarsExact(open.picoPerHour)}${bounds === null ? "" : ` of at most ${dollarsShort(bounds.spendPicoPerHourMax)}`}`],
      ...(bounds?.dryRun === true ? [["dry run", "nothing is bought: millrace capacity plan says what would be"]] as const : []),
      ["leaks", leaks.leases.length === 0 ? "none" : `${leaks.leases.length}, at ${dollarsExact(leaks.picoPerHour)} an hour: millrace capacity leaks`]
    ]),
    "",
    table(["PROVIDER", "OFFERS", "READ", "SOURCE", "SUSPENDED"], providers.map(({ offers, provider, readAtMs, source, suspended }) =>
      [provider, String(offers), timeText(readAtMs), orDash(source), orDash(suspended)]))
  ].join("\n"))

const show = Command.make("show", read, overview).pipe(
  Command.withDescription("What is rented, what it costs an hour, within which bounds, and from whom."),
  Command.withShortDescription("what is rented, and what it costs"),
  Command.withExamples([{ command: "millrace capacity show", description: "Now" }])
)

const offers = Command.make("offers", read, (given) =>
  looking(given, ({ cut, offers }) => ({ offers, cut }), ({ offers }) =>
    table(["PROVIDER", "TYPE", "MARKET", "GPU", "GPUS", "CORES", "MEMORY", "DOLLARS AN HOUR", "REGIONS"], offers.map((one) => [
      one.provider, one.machineType, orDash(one.market), orDash(one.gpuModel), String(one.gpus), String(one.cpuMilli / 1000), `${one.memoryMib} MiB`, dollarsShort(one.pricePicoPerHour), one.regions.join(",")
    ])))).pipe(
  Command.withDescription("What providers offer, at which price."),
  Command.withShortDescription("what providers offer"),
  Command.withExamples([{ command: "millrace capacity offers -o json | jq '.offers[] | select(.gpus > 0)'", description: "Those with GPUs" }])
)

const leaseTable = (leases: ReadonlyArray<LeaseView>): string =>
  table(["LEASE", "STATE", "PROVIDER", "TYPE", "REGION", "MACHINE", "HOST", "AN HOUR", "SINCE", "BECAUSE"], leases.map((one) => [
    one.leaseId, one.stands, one.provider, orDash(one.machineType), orDash(one.region), orDash(one.machine), orDash(one.hostId),
    one.pricePicoPerHour === null ? "-" : dollarsShort(one.pricePicoPerHour), timeText(one.sinceMs ?? one.requestedAtMs), orDash(one.because)
  ]))

/** With what each has cost since nobody accounted for it, as far as that is known. */
const leakTable = (leases: ReadonlyArray<LeaseView>): string =>
  table(["LEASE", "STATE", "PROVIDER", "TYPE", "REGION", "MACHINE", "AN HOUR", "SINCE", "COST SO FAR", "BECAUSE"], leases.map((one) => [
    one.leaseId, one.stands, one.provider, orDash(one.machineType), orDash(one.region), orDash(one.machine),
    one.pricePicoPerHour === null ? "-" : dollarsShort(one.pricePicoPerHour), timeText(one.sinceMs ?? one.requestedAtMs), one.costPico === null ? "-" : dollarsExact(one.costPico), orDash(one.because)
  ]))

const stands = ["asked", "refused", "withdrawn", "held", "released", "ended", "orphan"] as const

const leases = Command.make("leases", {
  stands: Flag.Literals("state", stands).pipe(Flag.withDescription("only leases in this state"), Flag.optional),
  limit: limit(100),
  ...read
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at, limit, stands } = given
    const answer = yield* origin.get<{ leases: ReadonlyArray<LeaseView> }>("/v1/leases", queryOf({ after, at, limit, stands }))
    return given.output === "json" ? sayJson(answer) : say(leaseTable(answer.leases))
  }))).pipe(
  Command.withDescription("List machine leases, the newest first: now, or as they were."),
  Command.withShortDescription("rented machines, and what became of them"),
  Command.withExamples([{ command: "millrace capacity leases --state held", description: "What costs money now" }])
)

const leaks = Command.make("leaks", read, (given) =>
  looking(given, ({ cut, leaks }) => ({ ...leaks, cut }), ({ leaks }) =>
    leaks.leases.length === 0 ? "Nothing leaks: every machine that costs money is accounted for." : `${leakTable(leaks.leases)}\n\nTogether ${dollarsExact(leaks.picoPerHour)} an hour. End them now: millrace capacity reap`)).pipe(
  Command.withDescription("Machines that may cost money and do nothing: endings that no provider has confirmed, and machines that nobody accounts for."),
  Command.withShortDescription("machines that cost money for nothing"),
  Command.withExamples([{ command: "millrace capacity leaks", description: "What to look at" }])
)

const reap = Command.make("reap", {
  leases: Argument.String("lease").pipe(Argument.withDescription("a lease to end, whatever it does; without one everything that leaks"), Argument.variadic({ min: 0 })),
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const reaped = yield* origin.send<typeof ReapView.Type>("POST", "/v1/capacity/reap", { query: given.leases.length === 0 ? {} : { lease: given.leases.join(",") } })
    if (given.output === "json") return sayJson(reaped)
    const of = (names: ReadonlyArray<string>): string => (names.length === 0 ? "none" : names.join(", "))
    return say(fieldsText([["given up", of(reaped.given)], ["being ended", of(reaped.ending)], ...(reaped.unknown.length === 0 ? [] : [["not open", of(reaped.unknown)]] as const)]))
  }))).pipe(
  Command.withDescription("End machines that cost money for nothing, now, or the leases that are named. Work that runs there has its time to end; each is asked for until its provider confirms it."),
  Command.withShortDescription("end what leaks, or the named leases"),
  Command.withExamples([{ command: "millrace capacity reap", description: "Everything that leaks" }, { command: "millrace capacity reap lse_01J9XHB4R3C8E5T2V7W6K0MZQA", description: "One lease" }])
)

const planText = (plan: PlanView): string => [
  fieldsText([
    ["chosen", timeText(plan.chosenAtMs)],
    ["by", `${plan.method}, in ${plan.tookMs} ms`],
    ["cost an hour", `${dollarsExact(plan.costPicoPerHour)}${plan.boundPicoPerHour === null ? "" : `; none costs less than ${dollarsExact(plan.boundPicoPerHour)}`}`],
    ["without a place", String(plan.unmet)]
  ]),
  "",
  table(["PROVIDER", "TYPE", "PLACE", "MARKET", "WANTED", "RUNNING", "WHY"], plan.targets.map((one) =>
    [one.provider, one.machineType, one.zone ?? one.region, one.market, String(one.wanted), String(one.running), one.reason])),
  ...plan.unmetBecause.map((one) => `${one.units} of ${one.class}: ${one.reason}`)
].join("\n")

const plan = Command.make("plan", {
  solveAgain: Flag.Boolean("solve-again").pipe(Flag.withDescription("solve it again from its kept inputs"), Flag.withDefault(false)),
  weights: Flag.String("weights").pipe(Flag.withDescription("other weights for that, such as riskPermille=0,startPermille=100"), Flag.optional),
  ...read
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at, weights } = given
    const again = given.solveAgain || weights._tag === "Some"
    const answer = yield* origin.get<{ plan: PlanView | null; cut: unknown }>(again ? "/v1/capacity/plan/again" : "/v1/capacity/plan", queryOf({ after, at, ...(again ? { weights } : {}) }))
    if (given.output === "json") return sayJson(answer)
    return say(answer.plan === null ? "No plan has been chosen: nothing waits, and nothing is rented." : planText(answer.plan))
  }))).pipe(
  Command.withDescription("What the broker means to have, of which machines how many, what it costs and why; as of any time, and solved again with other weights."),
  Command.withShortDescription("what the broker means to have, and why"),
  Command.withExamples([
    { command: "millrace capacity plan", description: "Now" },
    { command: "millrace capacity plan --at 2026-11-22T08:00:00Z --solve-again --weights riskPermille=0", description: "What it would have been by price alone" }
  ])
)

const leaseFields = (one: LeaseView): ReadonlyArray<readonly [string, string]> => [
  ["lease", one.leaseId],
  ["state", `${one.stands}${one.because === null ? "" : `: ${one.because}`}`],
  ["machine", `${one.machine ?? "none yet"}, ${orDash(one.machineType)} in ${one.zone ?? orDash(one.region)} at ${one.provider}, ${orDash(one.market)}`],
  ["price an hour", one.pricePicoPerHour === null ? "-" : dollarsExact(one.pricePicoPerHour)],
  ["read", one.quote === null ? "no machine was handed over" : `${timeText(one.quote.readAtMs)}, ${one.quote.source}`],
  ["asked for", timeText(one.requestedAtMs)],
  ["because", one.insteadOf !== null ? `${one.insteadOf} was late` : one.replaces !== null ? `the machine of ${one.replaces} costs more` : one.plan !== null ? `the plan ${one.plan} wanted it: millrace capacity plan` : one.stands === "orphan" ? "nobody accounts for it" : "something waited, and it was the best to be had at once"],
  ...(one.reclaimAtMs === null ? [] : [["taken back", timeText(one.reclaimAtMs)] as const]),
  ...(one.askedBy === null ? [] : [["ended by", one.askedBy] as const]),
  ...(one.costPico === null ? [] : [["cost", dollarsExact(one.costPico)] as const])
]

const why = Command.make("why", {
  lease: something("lease", "a lease, or its machine"),
  ...read
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at, lease } = given
    const { cut, leases } = yield* origin.get<{ leases: ReadonlyArray<LeaseView>; cut: unknown }>("/v1/leases", queryOf({ after, at, limit: 1000 }))
    const found = leases.find(({ leaseId, machine }) => leaseId === lease || machine === lease)
    if (found === undefined) return yield* new Trouble({ code: "lease_unknown", what: `no lease or machine is named ${lease}`, where: origin.url, remedy: "see which there are: millrace capacity leases", ending: "unknown" })
    return given.output === "json" ? sayJson({ lease: found, cut }) : say(fieldsText(leaseFields(found)))
  }))).pipe(
  Command.withDescription("Why a machine was bought, at which price by which source, and what became of it."),
  Command.withShortDescription("why a machine was bought, and what became of it"),
  Command.withExamples([{ command: "millrace capacity why lse_01J9XHB4R3C8E5T2V7W6K0MZQA", description: "By lease" }, { command: "millrace capacity why i-0abcd1234", description: "By the provider's name of it" }])
)

const optionalText = (name: string, what: string) => Flag.String(name).pipe(Flag.withDescription(what), Flag.optional)

const billText = (one: Bill): string => [
  fieldsText([["provider", one.provider], ["ours", dollarsExact(one.oursPico)], ["theirs", one.theirsPico === null ? one.detail ?? "-" : dollarsExact(one.theirsPico)]]),
  table(["MACHINE", "LEASE", "OURS", "THEIRS", "DIFFERENCES"], one.machines.map((machine) => [
    machine.machine, orDash(machine.leaseId), dollarsExact(machine.oursPico), machine.theirsPico === null ? "-" : dollarsExact(machine.theirsPico),
    machine.differences.map(({ cause, detail, pico }) => `${dollarsExact(pico)} ${cause.replaceAll("_", " ")}: ${detail}`).join("; ") || "none"
  ]))
].join("\n\n")

const bill = Command.make("bill", {
  provider: optionalText("provider", "this provider alone"),
  from: optionalText("from", "from this moment on; a day ago unless told"),
  until: optionalText("until", "until this moment; now unless told"),
  file: optionalText("file", "its bill as CSV, for one that cannot be asked: with machine, from, until and amount, or a cost and usage report of AWS"),
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { file, from, provider, until } = given
    if (file._tag === "Some" && provider._tag === "None") {
      return yield* new Trouble({ code: "provider_missing", what: "a bill is of one provider", where: "the command line", remedy: "name it: --provider NAME --file FILE", ending: "usage" })
    }
    const answer = yield* origin.get<{ bills: ReadonlyArray<Bill> }>("/v1/capacity/bill", queryOf({ from, provider, until }))
    const bills = file._tag === "None" ? answer.bills : yield* Effect.forEach(answer.bills, (one) => heldAgainst(one, file.value))
    return given.output === "json" ? sayJson({ ...answer, bills }) : say(bills.map(billText).join("\n\n"))
  }))).pipe(
  Command.withDescription("What machines have cost by our own account, beside what their provider bills, with the cause of every difference."),
  Command.withShortDescription("our account beside the providers' bills"),
  Command.withExamples([
    { command: "millrace capacity bill --provider lambda --from 2026-11-01T00:00:00Z", description: "This month's, at one provider" },
    { command: "millrace capacity bill --provider aws --from 2026-11-01T00:00:00Z --file report.csv", description: "Beside a bill in a file" }
  ])
)

export const capacity = Command.make("capacity", read, overview).pipe(
  Command.withDescription("Machines rented from providers: offers, the plan, leases, leaks, bills."),
  Command.withShortDescription("machines rented from providers"),
  Command.withSubcommands([show, offers, plan, leases, why, leaks, reap, bill])
)
