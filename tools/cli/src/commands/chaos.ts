import { Effect } from "effect"
import { Command } from "effect/cli"
import type { LeaseView } from "../../../../services/broker/src/api/api.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { something } from "../flags.ts"
import type { Origin } from "../origin.ts"
import { note, output, sayJson } from "../print.ts"
import { skyOf } from "../sky.ts"
import { Trouble } from "../trouble.ts"

const host = something("host", "the host's id, or the machine's as its provider calls it")

const killHost = Command.make("kill-host", { host, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const sky = yield* skyOf(given.folder)
    const machine = given.host.startsWith("hst_") ? yield* machineOf(origin, given.host) : given.host
    yield* sky.ask("POST", "/sky/crash", { machine })
    if (given.output === "json") return sayJson({ host: given.host, machine })
    note(`Machine ${machine} is dead, and whatever ran there. Watch the cell notice with: millrace events --follow`)
  }))).pipe(
  Command.withDescription("Kill a machine of the pretend cloud on this machine, as when its power fails: its agent and its work die at once, unasked. There is no such thing for any other machine."),
  Command.withShortDescription("kill a machine of the pretend cloud"),
  Command.withExamples([{ command: "millrace chaos kill-host HOST", description: "Then see the cell go on: millrace story JOB --follow" }])
)

/** The machine behind a host, if it is rented. */
const machineOf = Effect.fnUntraced(function*(origin: Origin, hostId: string) {
  const { leases } = yield* origin.get<{ leases: ReadonlyArray<LeaseView> }>("/v1/leases", { stands: "held", limit: "1000" })
  const machine = leases.find((lease) => lease.hostId === hostId)?.machine
  if (machine !== undefined && machine !== null) return machine
  return yield* new Trouble({
    code: "host_not_rented",
    what: `${hostId} runs on no machine of the pretend cloud`,
    where: "the broker's leases",
    remedy: "choose one that millrace capacity leases --state held shows; others are not for killing",
    ending: "unknown"
  })
})

export const chaos = Command.make("chaos").pipe(
  Command.withDescription("Break things on purpose, on this machine alone, and see that nothing is lost."),
  Command.withShortDescription("break things on purpose"),
  Command.withSubcommands([killHost])
)
