import type { Result } from "effect"
import { type Decider, fold } from "./decider.ts"

/** `given(decider, ...past).when(command)`: what the decision says after this history. */
export const given = <State, Command, Fact, Refusal>(
  decider: Decider<State, Command, Fact, Refusal>,
  ...past: ReadonlyArray<Fact>
) => ({
  when: (command: Command): Result.Result<ReadonlyArray<Fact>, Refusal> => decider.decide(fold(decider, past), command)
})
