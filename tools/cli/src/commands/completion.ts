import { Effect } from "effect"
import { Argument, Command } from "effect/cli"

const shells = ["bash", "zsh", "fish"] as const

/** Prints what a shell reads; the text is made from the whole command, which is handed in because this is a part of it. */
export const completion = <E, R>(printed: (shell: (typeof shells)[number]) => Effect.Effect<void, E, R>) =>
  Command.make("completion", { shell: Argument.Literals("shell", shells).pipe(Argument.withDescription("bash, zsh or fish")) }, ({ shell }) => printed(shell)).pipe(
    Command.withDescription("Print what a shell needs to complete this command."),
    Command.withShortDescription("completions for your shell"),
    Command.withExamples([
      { command: "source <(millrace completion bash)", description: "In this shell" },
      { command: "millrace completion fish > ~/.config/fish/completions/millrace.fish", description: "From now on" }
    ])
  )
