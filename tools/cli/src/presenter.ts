import { Effect } from "effect"
import { CliOutput } from "effect/cli"
import { note, say } from "./print.ts"
import { Trouble, troubleText } from "./trouble.ts"

/** Help and version are data; a wrong command line is a trouble of its own, said like every other. */
export const presenter = (formatter: CliOutput.Formatter): CliOutput.Presenter => ({
  present: (event) =>
    Effect.sync(() => {
      switch (event._tag) {
        case "Help":
          // Our own words, and on a terminal our own colours.
          return void process.stdout.write(`${formatter.formatHelpDoc(event.helpDoc)}\n`)
        case "Version":
          return say(event.version)
        case "InvalidInvocation":
          return note(troubleText(
            new Trouble({
              code: "usage",
              what: event.errors.map(({ message }) => message.replace(/Expected: (?=.* is not )/u, "")).join("; "),
              where: "the command line",
              remedy: `see: ${event.commandPath.join(" ")} --help`,
              ending: "usage"
            })
          ))
      }
    })
})
