import { Checkpoints } from "@millrace/journal"
import { layerBeats, layerJetStream } from "@millrace/journal/jetstream"
import { SchedulerService } from "@millrace/scheduler"
import { WarrantSigner } from "@millrace/service"
import { Effect, Layer, References } from "effect"
import { join } from "node:path"

/** The scheduler as a cell runs it, in a process of its own, over a server without accounts. */
const [url = "", folder = ""] = process.argv.slice(2)
const nats = { servers: url, name: "scheduler" }

// Whoever started it is gone: then so is it.
process.on("disconnect", () => process.exit(0))
const used = process.cpuUsage()
process.on("message", () => {
  const { system, user } = process.cpuUsage(used)
  process.send?.({ cpuMs: Math.round((system + user) / 1000), residentMib: Math.round(process.memoryUsage.rss() / 2 ** 20) })
})

await Effect.runPromise(Layer.launch(SchedulerService.pipe(
  Layer.provide([layerJetStream({ nats }), layerBeats(nats), Checkpoints.layerFolder(join(folder, "checkpoints")), WarrantSigner.layer(join(folder, "cell.key"))])
)).pipe(Effect.provideService(References.MinimumLogLevel, "Error")))
