import { doctor as lookAround, type DoctorRow, renderDoctor } from "@millrace/bootstrap"
import { Effect } from "effect"
import { Command } from "effect/cli"
import { cellRows } from "../cell.ts"
import { apiFlags, logFlags } from "../door.ts"
import { output, say, sayJson, telling } from "../print.ts"
import { endedWith } from "../trouble.ts"

const flags = { output, ...apiFlags, ...logFlags }
type Given = Command.Command.Config.Infer<typeof flags>

export const doctor = Command.make("doctor", flags, (given) =>
  telling(
    Effect.flatMap(Effect.all([Effect.promise(() => lookAround()), cellRows(given)], { concurrency: 2 }), ([machine, cell]) => shown([...machine, ...cell], given)),
    { format: given.output }
  )).pipe(
  Command.withDescription("Look at this machine and its cell: what is there, in which version, what is missing, and the command that mends it."),
  Command.withShortDescription("what is missing here, and what mends it"),
  Command.withExamples([{ command: "millrace doctor", description: "Exit 69 where something is missing that is needed" }])
)

export const status = Command.make("status", flags, (given) =>
  telling(Effect.flatMap(cellRows(given), (rows) => shown(rows, given)), { format: given.output })).pipe(
  Command.withDescription("Look at the cell alone: does its API answer, can its log be read, how far are its tables behind."),
  Command.withShortDescription("is the cell up, and how far are its tables behind"),
  Command.withExamples([{ command: "millrace status -o json", description: "For a program that waits for a cell" }])
)

const shown = Effect.fnUntraced(function*(rows: ReadonlyArray<DoctorRow>, { output }: Given) {
  if (output === "json") sayJson({ rows })
  else say(renderDoctor(rows))
  if (rows.some(({ ok, optional }) => !ok && !optional)) return yield* endedWith("unavailable")
})
