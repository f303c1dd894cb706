import { Checkpoints, type Mismatch, type Verdict, verify } from "@millrace/journal"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { join } from "node:path"
import { type CheckpointVerdict, verifyCheckpoint } from "../checkpoint.ts"
import { cutText } from "../cut.ts"
import { deciders, type Replayable } from "../deciders.ts"
import { cellFolder, logFlags, readDoor } from "../door.ts"
import { readingLog } from "../log.ts"
import { note, output, say, sayJson, telling } from "../print.ts"
import { endedWith, Trouble } from "../trouble.ts"

const flags = {
  verify: Flag.Boolean("verify").pipe(Flag.withoutNegation, Flag.withDescription("make every decision again and demand the same"), Flag.withDefault(false)),
  decider: Flag.Literals("decider", deciders.map(({ name }) => name)).pipe(Flag.withDescription("one decider alone"), Flag.optional),
  checkpoint: Flag.Boolean("checkpoint").pipe(Flag.withoutNegation, Flag.withDescription("also hold the newest checkpoints against a rebuild from fact one"), Flag.withDefault(false)),
  output,
  ...logFlags
}
type Given = Command.Command.Config.Infer<typeof flags>

export const replay = Command.make("replay", flags, (given) => telling(replaying(given), { format: given.output })).pipe(
  Command.withDescription("Make every decision again, in this process, from the log alone: facts up to what it saw, then the decision, which must be the same under the same ids."),
  Command.withShortDescription("make every decision again from the log alone"),
  Command.withExamples([
    { command: "millrace replay --verify", description: "Exit 0: every decision follows from what it had seen; 20: one does not" },
    { command: "millrace replay --verify --decider metering", description: "What was charged, and by which prices" },
    { command: "millrace replay --verify --checkpoint -o json", description: "The checkpoints too, for a program" }
  ])
)

interface Replayed extends Verdict {
  readonly name: string
  readonly checkpoint?: CheckpointVerdict
}

const replaying = Effect.fnUntraced(function*(given: Given) {
  if (!given.verify) {
    return yield* new Trouble({ code: "usage", what: "replay does one thing, and wants to be asked for it", where: "the command line", remedy: "millrace replay --verify", ending: "usage" })
  }
  const checkpoints = readDoor(cellFolder(given.folder))?.checkpoints ?? join(cellFolder(given.folder), "checkpoints")
  const wanted = deciders.filter(({ name }) => Option.isNone(given.decider) || given.decider.value === name)
  const replayed = yield* readingLog(given, Effect.forEach(wanted, (one) => again(one, given.checkpoint))).pipe(Effect.provide(Checkpoints.layerFolder(checkpoints)))
  if (given.output === "json") sayJson({ ...summed(replayed), deciders: replayed })
  else for (const line of replayed.flatMap(linesOf)) say(line)
  if (replayed.some(({ checkpoint, mismatches }) => mismatches.length > 0 || (checkpoint?.found === true && !checkpoint.agrees))) return yield* endedWith("mismatch")
})

const again = Effect.fnUntraced(function*({ load, name }: Replayable, withCheckpoint: boolean) {
  const { comparable, decider } = yield* Effect.promise(load)
  const verdict = yield* verify(decider, { ...(comparable === undefined ? {} : { comparable }), progress: reporting(name) })
  const checkpoint = withCheckpoint ? yield* verifyCheckpoint(decider) : undefined
  return { name, ...verdict, ...(checkpoint === undefined ? {} : { checkpoint }) } satisfies Replayed
})

const summed = (replayed: ReadonlyArray<Replayed>): Verdict => ({
  decisions: replayed.reduce((sum, { decisions }) => sum + decisions, 0),
  commits: replayed.reduce((sum, { commits }) => sum + commits, 0),
  facts: replayed.reduce((sum, { facts }) => sum + facts, 0),
  byOtherCode: replayed.reduce((sum, { byOtherCode }) => sum + byOtherCode, 0),
  mismatches: replayed.flatMap(({ mismatches }) => mismatches)
})

/** Says how far it is, about once a second. */
const reporting = (name: string) => {
  let toldAtMs = performance.now()
  return (commits: number, of: number): void => {
    const nowMs = performance.now()
    if (nowMs - toldAtMs < 1_000) return
    toldAtMs = nowMs
    note(`${name}: ${commits} of ${of} commits`)
  }
}

const linesOf = (replayed: Replayed): ReadonlyArray<string> => [...verdictText(replayed), ...checkpointText(replayed.checkpoint)]

const verdictText = ({ byOtherCode, commits, decisions, facts, mismatches, name }: Replayed): ReadonlyArray<string> => [
  `${decisions} decisions of the ${name} made again, in ${commits} commits of ${facts} facts`,
  ...(byOtherCode === 0 ? [] : [`${byOtherCode} more were made by another version of it, and were taken as they are.`]),
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
