import type { Blobs } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import { HOST_ACK_WAIT_MS, hostConsumer } from "@millrace/journal/admission"
import type { FactId, Principal } from "@millrace/schemas"
import { type Keyring, traced, type WarrantVerifier, worker } from "@millrace/service"
import { Clock, Effect, Layer } from "effect"
import type { Ledger } from "./machine/ledger.ts"
import { Machine } from "./machine/machine.ts"
import type { Runtimes } from "./machine/runtime.ts"
import { openPlacements } from "./reactors/run-placements.ts"
import { openVoice } from "./reactors/voice.ts"

/** The version that hosts say they run. */
export const agentVersion = "0.1.0"

/**
 * Everything a host does: it tells the end of what an earlier agent had begun, says that it is here, and
 * then carries out its placements one after the other.
 */
export const HostService: Layer.Layer<
  never,
  never,
  Journal | Blobs | Keyring | Ledger | Machine | Runtimes | WarrantVerifier
> = Layer.unwrap(Effect.gen(function*() {
  const { bootId, capabilities, hostId } = yield* Machine
  const journal = yield* Journal
  const actor = `host:${hostId}` as Principal
  return worker(
    Effect.scoped(Effect.gen(function*() {
      const attempts = yield* openVoice({ kind: "attempt", scope: hostId }, actor)
      const placements = yield* openPlacements(attempts)
      const nowMs = yield* Clock.currentTimeMillis
      const id = deriveId<FactId>("fct", nowMs, hostId, "joined", bootId)
      const voice = yield* openVoice({ kind: "host", scope: hostId }, actor)
      yield* voice.say([{ id, partOf: id, event: { _tag: "HostJoined", hostId, bootId, capabilities, agentVersion } }], Effect.void)
      const carryingOut = journal.react(
        { stream: "SCHEDULER", durable: hostConsumer(hostId), ackWaitMs: HOST_ACK_WAIT_MS, filter: `mill.placement.${hostId}` },
        (commit) => traced("host.run-placements", commit, placements.handle(commit))
      )
      return yield* Effect.raceFirst(carryingOut, Effect.raceFirst(attempts.lost, voice.lost))
    })),
    { name: "host.placements" }
  )
}))
