import { Effect } from "effect"
import { Argument, Command } from "effect/cli"
import type { CheckView } from "../../../../services/broker/src/api/api.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { queryOf } from "../flags.ts"
import { output, say, sayJson, table } from "../print.ts"
import { Trouble } from "../trouble.ts"

const check = Command.make("check", {
  provider: Argument.String("provider").pipe(Argument.withDescription("this provider alone"), Argument.optional),
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* origin.get<{ checks: ReadonlyArray<typeof CheckView.Type> }>("/v1/capacity/checks", queryOf({ provider: given.provider }))
    if (given.output === "json") sayJson(answer)
    else if (answer.checks.length === 0) say("No provider is set: nothing can be bought. The setting MILLRACE_PROVIDERS of the broker names their file.")
    else say(table(["PROVIDER", "PERMISSION", "ALLOWED", "DETAIL"], answer.checks.map((one) => [one.provider, one.permission, one.allowed ? "yes" : "no", one.detail])))
    const missing = answer.checks.filter(({ allowed }) => !allowed)
    if (missing.length === 0) return
    return yield* new Trouble({
      code: "permission_missing",
      what: `${missing.length} of ${answer.checks.length} permissions are missing: ${missing.map((one) => `${one.permission} at ${one.provider}`).join(", ")}`,
      where: origin.url,
      remedy: "give the key of each provider what its detail says, or another key in its file",
      ending: "rejected"
    })
  }))).pipe(
  Command.withDescription("Try credentials and permissions at each provider, one by one, without buying or changing anything."),
  Command.withShortDescription("what our keys may do at each provider"),
  Command.withExamples([{ command: "millrace providers check", description: "All of them" }, { command: "millrace providers check lambda -o json", description: "One, for a program" }])
)

export const providers = Command.make("providers").pipe(
  Command.withDescription("The clouds that machines are rented from."),
  Command.withShortDescription("the clouds that machines are rented from"),
  Command.withSubcommands([check])
)
