import { Command } from "effect/cli"
import { cancel, doctor, events, ls, outputOf, replay, show, status, story, submit } from "./commands/index.ts"
import { exitCodesText } from "./exit-codes.ts"

/** The whole command. */
export const millrace = Command.make("millrace").pipe(
  Command.withDescription(`Run work on a Millrace cell, and see why everything happened.\n\n${exitCodesText}`),
  Command.withSubcommands([submit, story, ls, show, cancel, outputOf, events, replay, doctor, status])
)
