import { Checkpoints, type Mismatch, type Verdict, verify } from "@millrace/journal"
import { comparable, scheduler } from "@millrace/scheduler"
import { Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { join } from "node:path"
import { type CheckpointVerdict, verifyCheckpoint } from "../checkpoint.ts"
import { cellFolder, logFlags, readDoor } from "../door.ts"
import { readingLog } from "../log.ts"
import { note, output, say, sayJson, telling } from "../print.ts"
import { cutText } from "../story.ts"
import { endedWith, Trouble } from "../trouble.ts"

const flags = {
  verify: Flag.Boolean("verify").pipe(Flag.withoutNegation, Flag.withDescription("make every decision again and demand the same"), Flag.withDefault(false)),
  checkpoint: Flag.Boolean("checkpoint").pipe(Flag.withoutNegation, Flag.withDescription("also hold the newest checkpoint against a rebuild from fact one"), Flag.withDefault(false)),
  output,
  ...logFlags
}
type Given = Command.Command.Config.Infer<typeof flags>

export const replay = Command.make("replay", flags, (given) => telling(replaying(given), { format: given.output })).pipe(
  Command.withDescription("Make every decision of the scheduler again, in this process, from the log alone: facts up to what it saw, then the decision, which must be the same under the same ids."),
  Command.withShortDescription("make every decision again from the log alone"),
  Command.withExamples([
    { command: "millrace replay --verify", description: "Exit 0: every decision follows from what it had seen; 20: one does not" },
    { command: "millrace replay --verify --checkpoint -o json", description: "The checkpoint too, for a program" }
  ])
)

const replaying = Effect.fnUntraced(function*(given: Given) {
  if (!given.verify) {
    return yield* new Trouble({ code: "usage", what: "replay does one thing, and wants to be asked for it", where: "the command line", remedy: "millrace replay --verify", ending: "usage" })
  }
  const progress = reporting()
  const checkpoints = readDoor(cellFolder(given.folder))?.checkpoints ?? join(cellFolder(given.folder), "checkpoints")
  const { checkpoint, verdict } = yield* readingLog(given, Effect.gen(function*() {
    const verdict = yield* verify(scheduler, { comparable, progress })
    const checkpoint = given.checkpoint ? yield* verifyCheckpoint(scheduler) : undefined
    return { verdict, checkpoint }
  })).pipe(Effect.provide(Checkpoints.layerFolder(checkpoints)))
  if (given.output === "json") sayJson({ ...verdict, ...(checkpoint === undefined ? {} : { checkpoint }) })
  else for (const line of [...verdictText(verdict), ...checkpointText(checkpoint)]) say(line)
  if (verdict.mismatches.length > 0 || (checkpoint?.found === true && !checkpoint.agrees)) return yield* endedWith("mismatch")
})

/** Says how far it is, about once a second. */
const reporting = () => {
  let toldAtMs = performance.now()
  return (commits: number, of: number): void => {
    const nowMs = performance.now()
    if (nowMs - toldAtMs < 1_000) return
    toldAtMs = nowMs
    note(`${commits} of ${of} commits`)
  }
}

const verdictText = ({ commits, decisions, facts, mismatches }: Verdict): ReadonlyArray<string> => [
  `${decisions} decisions of the scheduler made again, in ${commits} commits of ${facts} facts`,
  ...(mismatches.length === 0 ? ["Each of them follows from what it had seen."] : [`${mismatches.length} of them do not follow from what they had seen:`]),
  ...mismatches.flatMap(mismatchText)
]

const mismatchText = ({ decidedAtMs, logged, replayed, saw, sequence, stream }: Mismatch): ReadonlyArray<string> => [
  "",
  `  where     ${stream} ${sequence}, decided ${new Date(decidedAtMs).toISOString()} having seen ${cutText(saw)}`,
  `  logged    ${JSON.stringify(logged)}`,
  `  replayed  ${JSON.stringify(replayed) ?? "nothing"}`
]

const checkpointText = (verdict: CheckpointVerdict | undefined): ReadonlyArray<string> =>
  verdict === undefined ? [] : verdict.found ? [`The checkpoint (code ${verdict.codeVersion}, at ${cutText(verdict.saw)}): ${verdict.because}.`] : ["There is no checkpoint yet; the log is short enough to be read from fact one."]
