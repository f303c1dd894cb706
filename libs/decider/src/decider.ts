import { Result } from "effect"

/**
 * A decision that can be replayed anywhere: two pure functions and where they begin.
 *
 * `decide` may refuse, and answers with facts; `evolve` cannot refuse, because it is told what has
 * already happened. Law: a command that is told again, on the state that its own facts led to, adds
 * nothing. Neither looks at a clock, chance or a socket: the time of a command is in the command.
 */
export interface Decider<State, Command, Fact, Refusal> {
  readonly initial: State
  readonly decide: (state: State, command: Command) => Result.Result<ReadonlyArray<Fact>, Refusal>
  readonly evolve: (state: State, fact: Fact) => State
}

/** The facts that a decision adds, in order. */
export const facts = <const Facts extends ReadonlyArray<unknown>>(...said: Facts): Result.Result<Facts> =>
  Result.succeed(said)

/** A decision that adds nothing: what was asked is so already. */
export const nothing: Result.Result<readonly []> = Result.succeed([])

/** The state that a history leads to. */
export const fold = <State, Fact>(
  { initial, evolve }: Pick<Decider<State, never, Fact, unknown>, "initial" | "evolve">,
  history: Iterable<Fact>
): State => {
  let state = initial
  for (const fact of history) state = evolve(state, fact)
  return state
}
