import { Effect } from "effect"
import { Command } from "effect/cli"
import {
  artefacts, askCommand, budgets, cancel, capacity, chaos, completion, decisions, dev, doctor, events, grants, hosts, logs, ls, outputOf, plan, prices, principals, priority, providers, quotas, replay, run,
  show, sky, snapshots, status, story, submit, tokens, triggers, usage, why
} from "./commands/index.ts"
import { exitCodesText } from "./exit-codes.ts"

const printed = (shell: string): Effect.Effect<void, unknown, Command.Environment> =>
  Effect.suspend(() => Command.runWith(millrace as Command.Command<"millrace", unknown, unknown, unknown, Command.Environment>, { version: "" })(["--completions", shell]))

/** The whole command. */
export const millrace = Command.make("millrace").pipe(
  Command.withDescription(`Run work on a Millrace cell, and see why everything happened.\n\n${exitCodesText}`),
  Command.withSubcommands([
    run, submit, ls, show, story, logs, outputOf, artefacts, cancel, why, plan, priority, hosts, grants, principals, tokens, decisions, askCommand, usage, budgets, prices, quotas, snapshots,
    capacity, providers, triggers, events, replay, doctor, status, dev, chaos, sky, completion(printed)
  ])
)
