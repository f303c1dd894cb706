import { Effect } from "effect"
import { Command, Flag } from "effect/cli"
import type { CapacityView, LeaseView } from "../../../../services/broker/src/api/api.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, limit, queryOf } from "../flags.ts"
import { dollarsExact, dollarsShort } from "../money.ts"
import { output, say, sayJson, table } from "../print.ts"
import { fieldsText, orDash, timeText } from "../render.ts"

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
    table(["PROVIDER", "TYPE", "GPU", "GPUS", "CORES", "MEMORY", "DOLLARS AN HOUR", "REGIONS"], offers.map((one) => [
      one.provider, one.machineType, orDash(one.gpuModel), String(one.gpus), String(one.cpuMilli / 1000), `${one.memoryMib} MiB`, dollarsShort(one.pricePicoPerHour), one.regions.join(",")
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
    leaks.leases.length === 0 ? "Nothing leaks: every machine that costs money is accounted for." : `${leaseTable(leaks.leases)}\n\nTogether ${dollarsExact(leaks.picoPerHour)} an hour.`)).pipe(
  Command.withDescription("Machines that may cost money and do nothing: endings that no provider has confirmed, and machines that nobody accounts for."),
  Command.withShortDescription("machines that cost money for nothing"),
  Command.withExamples([{ command: "millrace capacity leaks", description: "What to look at" }])
)

export const capacity = Command.make("capacity", read, overview).pipe(
  Command.withDescription("Machines rented from providers: offers, leases, leaks."),
  Command.withShortDescription("machines rented from providers"),
  Command.withSubcommands([show, offers, leases, leaks])
)
