/**
 * How the command ends. 0 is what was hoped for; 10 to 19 tell how a job ended that was followed; values
 * above 63 follow BSD's sysexits.h, and 130 is the shell's number for Ctrl-C.
 */
export const exitCodes = {
  done: { code: 0, means: "done; a job that was followed has succeeded" },
  failed: { code: 10, means: "the job that was followed has failed" },
  cancelled: { code: 11, means: "the job that was followed was cancelled" },
  lost: { code: 12, means: "the job that was followed was lost with its host" },
  refused: { code: 13, means: "the job that was followed was refused by the scheduler" },
  mismatch: { code: 20, means: "replay found a decision that does not follow from the log" },
  later: { code: 21, means: "plan: the job would wait, for room, a quota or money" },
  never: { code: 22, means: "plan: nothing here or for rent could run the job, or its quota, grant or budget never lets it" },
  usage: { code: 64, means: "the command line is wrong" },
  rejected: { code: 65, means: "the API rejects the request: malformed, too large, or one key for two requests" },
  unknown: { code: 66, means: "there is no such job, output, grant or other thing" },
  unavailable: { code: 69, means: "the cell, or a part of it, cannot be reached or is not well" },
  bug: { code: 70, means: "a bug in this command" },
  forbidden: { code: 77, means: "the token is unknown, or lacks the right" },
  settings: { code: 78, means: "a setting, credentials file or token file is wrong" },
  interrupted: { code: 130, means: "Ctrl-C; a job that was followed goes on" }
} as const

export type Ending = keyof typeof exitCodes

/** The table of `--help`. */
export const exitCodesText: string = [
  "Exit codes:",
  ...Object.values(exitCodes).map(({ code, means }) => `${String(code).padStart(5)}  ${means}`)
].join("\n")
