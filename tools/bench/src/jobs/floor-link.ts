import { connectNats, Publisher } from "@millrace/journal/jetstream"
import { Effect } from "effect"
import { appending, hearing } from "./floor.ts"

/** One link of the bare chain: hears the link before it and appends at once, with an empty decision between. */
const [link = "", url = ""] = process.argv.slice(2)

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const connection = yield* connectNats({ servers: url, name: link })
  const append = appending(new Publisher(connection, { windowMax: 4096 }))
  let last = 0
  yield* Effect.promise(() => hearing(connection, link === "PLACEMENT" ? "JOB" : "PLACEMENT", (subject) => {
    const number = subject.slice(subject.indexOf(".") + 1)
    void append(`${link.toLowerCase()}.${number}`, link === "PLACEMENT" ? [`Nats-Expected-Last-Sequence: ${last++}`] : [])
  }))
  process.stdout.write("ready\n")
  return yield* Effect.never
})))
