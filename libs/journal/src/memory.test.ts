import { Effect, Layer } from "effect"
import { subjectText } from "@millrace/schemas"
import { MemoryLog, memoryJournal } from "./memory.ts"
import { journalKeepsItsPromises, LogUnderTest } from "./testing.ts"

// Of 100,000 appends in all, 70,000 are made here, 20,000 on one nats-server and 10,000 on three.
journalKeepsItsPromises(
  "the journal in memory",
  Layer.sync(LogUnderTest, () => {
    const log = new MemoryLog()
    return {
      open: Effect.succeed(memoryJournal(log)),
      put: (stream, subject, message) => Effect.sync(() => void log.put(stream, subjectText(subject), message, 0)),
      appends: 70_000
    }
  })
)
