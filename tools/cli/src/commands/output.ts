import { Effect, Stream } from "effect"
import { Argument, Command } from "effect/cli"
import { asking } from "../asking.ts"
import { artefactsOf, downloaded } from "../downloads.ts"
import { apiFlags } from "../door.ts"
import { jobId, optionally, task } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { bytesText } from "../render.ts"

const nameless = Argument.String("name").pipe(Argument.withDescription("stdout, stderr, or an artefact's name (stdout)"), Argument.withDefault("stdout"))

export const outputOf = Command.make("output", { job: jobId, name: nameless, task, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const which = optionally("task", given.task)
    const [bytes, answer] = yield* given.name === "stdout" || given.name === "stderr"
      ? client.bytes.output({ params: { jobId: given.job, name: given.name }, query: which, responseMode: "decoded-and-response" })
      : client.bytes.artefact({ params: { jobId: given.job, name: given.name }, query: which, responseMode: "decoded-and-response" })
    const droppedBytes = Number(answer.headers["millrace-dropped-bytes"] ?? 0)
    if (given.output === "json") {
      const whole = yield* Stream.mkUint8Array(bytes)
      return sayJson({ name: given.name, base64: Buffer.from(whole).toString("base64"), droppedBytes })
    }
    yield* Stream.runForEach(bytes, written)
    if (droppedBytes > 0) note(`${droppedBytes} more bytes were dropped: the output is larger than what is kept.`)
  }))).pipe(
  Command.withDescription("Write what a job printed or kept to stdout, byte by byte."),
  Command.withShortDescription("what a job printed or kept"),
  Command.withExamples([
    { command: "millrace output JOB", description: "What it printed" },
    { command: "millrace output JOB stderr", description: "What it complained of" },
    { command: "millrace output JOB report.pdf > report.pdf", description: "One artefact" }
  ])
)

/** Writes a piece, and waits while whoever reads it is slower. */
const written = (piece: Uint8Array) => Effect.callback<void>((resume) => {
  process.stdout.write(piece, () => resume(Effect.void))
})

const list = Command.make("ls", { job: jobId, task, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const artefacts = yield* artefactsOf(client, given.job, optionally("task", given.task))
    if (given.output === "json") return sayJson({ artefacts })
    say(table(["NAME", "SIZE", "DROPPED", "TASK", "ATTEMPT", "DIGEST"], artefacts.map(({ attempt, digest, droppedBytes, name, sizeBytes, task }) => [
      name, bytesText(sizeBytes), droppedBytes === 0 ? "-" : bytesText(droppedBytes), task === null ? "-" : String(task), String(attempt), digest
    ])))
  }))).pipe(
  Command.withDescription("List what a job kept, with its output."),
  Command.withShortDescription("what a job kept"),
  Command.withExamples([{ command: "millrace artefacts ls JOB", description: "Names, sizes and digests" }])
)

const into = Argument.String("into").pipe(Argument.withDescription("where to write them; made where it is not there (.)"), Argument.withDefault("."))

const get = Command.make("get", { job: jobId, into, task, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const files = yield* downloaded(client, given.job, given.into, yield* artefactsOf(client, given.job, optionally("task", given.task)))
    if (given.output === "json") return sayJson({ files })
    for (const file of files) say(file)
  }))).pipe(
  Command.withDescription("Download what a job kept into a folder. Each file appears when it is whole."),
  Command.withShortDescription("download what a job kept"),
  Command.withExamples([{ command: "millrace artefacts get JOB out", description: "Into ./out" }])
)

export const artefacts = Command.make("artefacts").pipe(
  Command.withDescription("What a job kept: its output, and the files that it left in its artefact folder."),
  Command.withShortDescription("list and download what a job kept"),
  Command.withSubcommands([list, get])
)
