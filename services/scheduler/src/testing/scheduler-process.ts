import { Checkpoints } from "@millrace/journal"
import { layerBeats, layerJetStream, layerSeat } from "@millrace/journal/jetstream"
import { WarrantSigner } from "@millrace/service"
import { Effect, Layer } from "effect"
import { join } from "node:path"
import { SchedulerService } from "../service.ts"

/** One scheduler in a process of its own, over a server without accounts. */
const [url = "", folder = ""] = process.argv.slice(2)
const nats = { servers: url, name: "scheduler" }

// Whoever started it is gone: then so is it.
process.on("disconnect", () => process.exit(0))

await Effect.runPromise(Layer.launch(SchedulerService.pipe(
  Layer.provide([layerJetStream({ nats }), layerBeats(nats), layerSeat("scheduler", nats), Checkpoints.layerFolder(join(folder, "checkpoints")), WarrantSigner.layer(join(folder, "cell.key"))])
)))
