import type { JobSpec } from "@millrace/schemas"
import type { Word } from "./world.ts"

/** Why an attempt is over, in its host's words, with the limit of its job's that ended it. */
export const endingText = (fact: Word["fact"], { idleMsMax, startMsMax }: JobSpec): string => {
  if (fact._tag === "AttemptRefused") return `the host refused it: ${fact.reason} (${fact.detail})`
  switch (fact.cause) {
    case "exited":
      return `exited with ${fact.code ?? fact.signal ?? "no code"}`
    case "start_timed_out":
      return `it did not run within ${startMsMax} ms of reaching its host (startMsMax)`
    case "idle_timed_out":
      return `it did nothing for ${idleMsMax} ms (idleMsMax)`
    default:
      return fact.cause
  }
}
