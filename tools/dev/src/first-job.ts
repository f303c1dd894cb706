import { type ApiClient, cutText, followStory, storyText } from "@millrace/cli"
import { Effect, Stream } from "effect"

/** A first job, told line by line as it happens. Fails if it does not succeed. */
export const firstJob = Effect.fnUntraced(function*(client: ApiClient, say: (line: string) => void) {
  const submitted = yield* client.jobs.submit({
    headers: {},
    payload: {
      runtime: "process",
      trust: "own",
      resources: { cpuMilli: 500, memoryMib: 64, diskMib: 0, gpus: 0 },
      argv: [process.execPath, "-e", "console.log('sum of squares to 1000:', Array.from({ length: 1000 }, (_, i) => (i + 1) ** 2).reduce((a, b) => a + b))"],
      env: {},
      labels: {},
      attemptsMax: 2,
      runMsMax: 60_000,
      onSilence: { keepMs: 300_000 }
    }
  })
  say(`One job's story (trust: own, a plain process on this machine): ${submitted.jobId}`)
  say("")
  const text = storyText()
  const cut = yield* followStory(client, submitted.jobId, { after: submitted.cut, line: (line) => say(`  ${text(line)}`), note: say })
  const output = yield* client.bytes.output({ params: { jobId: submitted.jobId, name: "stdout" }, query: {} }).pipe(Effect.flatMap(Stream.mkUint8Array))
  say("")
  say(`  it printed: ${Buffer.from(output).toString("utf8").trim()}`)
  const { job } = yield* client.jobs.show({ params: { jobId: submitted.jobId }, query: { after: cutText(cut), waitMs: 5_000 } })
  if (job.state !== "succeeded") return yield* Effect.fail(new Error(`The first job ${job.state}: ${job.because}`))
})
