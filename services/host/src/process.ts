import { Blobs } from "@millrace/blobs"
import { layerBeats, layerJetStream } from "@millrace/journal/jetstream"
import { decorated, keyringInFolder, service, setting, WarrantVerifier, worker } from "@millrace/service"
import { Config, Effect, Layer } from "effect"
import { join } from "node:path"
import { cellDoors } from "./cell-doors.ts"
import { tellingDeadMan } from "./machine/dead-man.ts"
import { enrol } from "./machine/enrolment.ts"
import { type GangNetwork, withGangNetwork } from "./machine/gang/network.ts"
import { gangNetwork } from "./machine/gang/offer.ts"
import { addressTowards } from "./machine/gang/own-address.ts"
import { findGpus, gpusLayer, withGpus } from "./machine/gpus.ts"
import { Ledger } from "./machine/ledger.ts"
import { Machine, ownCapabilities } from "./machine/machine.ts"
import { noop } from "./machine/noop.ts"
import { Keeper } from "./machine/keeper.ts"
import { copiesBytesOf, localCopies } from "./machine/local-copies.ts"
import { processRuntime } from "./machine/process.ts"
import { type Runtime, Runtimes } from "./machine/runtime.ts"
import { sandboxRuntime } from "./machine/sandbox.ts"
import { withSandbox } from "./machine/sandbox-probe.ts"
import { provenSandbox, verifyProof } from "./machine/sandbox-proof.ts"
import { agentVersion, hostService } from "./service.ts"

/** The host agent as a process: its settings, and what it stands on. */
export const hostProcess = service({
  name: "host",
  config: Config.all({
    servers: setting("MILLRACE_NATS_URL", { purpose: "where the log is", wants: "addresses of nats-servers, separated by commas", read: Config.NonEmptyString, default: "nats://127.0.0.1:4222" }),
    accessUrl: setting("MILLRACE_ACCESS_URL", { purpose: "where hosts enrol", wants: "an address such as http://127.0.0.1:8081", read: Config.NonEmptyString }),
    oneTimeKey: setting("MILLRACE_ONE_TIME_KEY", { purpose: "the file with the key that admits this machine the first time", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    folder: setting("MILLRACE_HOST_DIR", { purpose: "where the host keeps its key, its ledger and the folders of its work", wants: "a path", read: Config.NonEmptyString }),
    cellKey: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which warrants are checked against", wants: "a path", read: Config.NonEmptyString }),
    keys: setting("MILLRACE_KEYS", { purpose: "the folder of the workspaces' keys", wants: "a path", read: Config.NonEmptyString }),
    blobs: setting("MILLRACE_BLOBS", { purpose: "the folder that holds blobs", wants: "a path", read: Config.NonEmptyString }),
    cpuMilliMax: setting("MILLRACE_HOST_CPU_MILLI", { purpose: "at most so many thousandths of a core are offered; without it all of the machine", wants: "a whole number", read: Config.Int, default: undefined }),
    memoryMibMax: setting("MILLRACE_HOST_MEMORY_MIB", { purpose: "at most so much memory is offered, in MiB; without it all of the machine", wants: "a whole number", read: Config.Int, default: undefined }),
    smi: setting("MILLRACE_NVIDIA_SMI", { purpose: "the driver's tool, which tells of the machine's GPUs; without it the nvidia-smi on PATH, and without that there are none", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    gpuTest: setting("MILLRACE_GPU_TEST", { purpose: "a program that tests the one GPU that CUDA_VISIBLE_DEVICES names, and ends with 0 if it is well; without it the dcgmi on PATH, else the driver's word", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    kernelLog: setting("MILLRACE_KERNEL_LOG", { purpose: "the kernel's log, where the driver writes the errors of GPUs", wants: "a path", read: Config.NonEmptyString, default: "/dev/kmsg" }),
    cacheMibMax: setting("MILLRACE_HOST_CACHE_MIB", { purpose: "at most so much disk holds copies of what work begins with, in MiB, 0 for none; without it a twentieth of what is free", wants: "a whole number", read: Config.Int, default: undefined }),
    runsc: setting("MILLRACE_RUNSC", { purpose: "gVisor's runsc, which the work of others runs in; without it the one on PATH, and without that none of their work is taken", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    apiUrl: setting("MILLRACE_API_URL", { purpose: "the cell's API, which programs ask over their sockets; without it they have none", wants: "an address such as https://cell.example", read: Config.NonEmptyString, default: undefined }),
    relayUrl: setting("MILLRACE_RELAY_URL", { purpose: "the relay that this host dials, where it is not on the API's address", wants: "an address such as wss://cell.example/v1/wire", read: Config.NonEmptyString, default: undefined }),
    sessionKey: setting("MILLRACE_SESSION_KEY_PUBLIC", { purpose: "the public key of who opens sessions; without it nobody follows output here while it is said", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    gangAddress: setting("MILLRACE_GANG_ADDRESS", { purpose: "where other hosts reach this one over UDP, for the networks of gangs that several hosts share; without it the address that it reaches the cell from, and on the cell's own machine none: then only gangs on this host alone have a network", wants: "none, or an address such as 10.0.0.5, or 10.0.0.5:4789 where a firewall must know the port", read: Config.NonEmptyString, default: undefined }),
    gangMbitMax: setting("MILLRACE_GANG_MBIT", { purpose: "at most so many megabits a second from each member of a gang to the others", wants: "a whole number", read: Config.Int, default: 1000 }),
    deadManFile: setting("MILLRACE_DEAD_MAN_FILE", { purpose: "the file that the machine's dead man looks at, which turns a rented machine off when its cell is silent; without it the machine has none", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    atStop: setting("MILLRACE_AT_STOP", {
      purpose: "what becomes of running work when the agent is told to stop: it runs on for the next agent (leave), is waited for (drain), or is ended (end)",
      wants: "leave, drain or end",
      read: (name) => Config.Literals(["leave", "drain", "end"], name),
      default: "leave" as const
    })
  }),
  layer: ({ accessUrl, apiUrl, atStop, blobs, cacheMibMax, cellKey, cpuMilliMax, deadManFile, folder, gangAddress, gangMbitMax, gpuTest, kernelLog, keys, memoryMibMax, oneTimeKey, relayUrl, runsc, servers, sessionKey, smi }) => {
    const store = Blobs.folder(blobs)
    const keyring = keyringInFolder(keys)
    const copies = localCopies(join(folder, "copies"), copiesBytesOf(folder, cacheMibMax))
    const runtimesWith = (found: Effect.Success<ReturnType<typeof provenSandbox>>, network: GangNetwork | undefined) =>
      Layer.effect(Runtimes, Effect.gen(function*() {
        const keeper = yield* Keeper
        const all: ReadonlyArray<Runtime> = [noop, processRuntime(join(folder, "work"), keeper), ...("ground" in found ? [yield* sandboxRuntime(found.ground, keeper, network)] : [])]
        return new Map(all.map((runtime) => [runtime.name, runtime]))
      })).pipe(Layer.provide([Keeper.layer(join(folder, "keeper"), { atClose: atStop === "leave" ? "leave" : "end" }), store, copies]))
    return Layer.unwrap(Effect.gen(function*() {
      const { apiPrefix, epoch, hostId, nats, relayToken } = yield* enrol({ accessUrl, folder, oneTimeKeyFile: oneTimeKey, servers })
      // Found out by doing it, and before anything is promised: what the machine says it can do is what it did since its boot.
      const proof = { runsc, folder, agentVersion }
      const address = gangAddress === "none" ? undefined : gangAddress ?? (yield* addressTowards(accessUrl))
      const network = { folder, address, bytesPerSecondMax: gangMbitMax * 125_000, found: provenSandbox(proof) }
      const [{ found, gangs }, gpus] = yield* Effect.all([Effect.provide(gangNetwork(network), keyring), findGpus({ smi, test: gpuTest, kernelLog, folder })], { concurrency: 2 })
      const verifying = worker(verifyProof(proof, found), { name: "host.sandbox-proof", mends: () => false })
      return Layer.merge(hostService({ atStop }), verifying).pipe(
        Layer.provide([
          tellingDeadMan(deadManFile, layerBeats({ ...nats, name: `${hostId} beats` })),
          cellDoors({ hostId, folder, apiUrl, relayUrl, sessionKey, relayToken }).pipe(Layer.provide(copies)),
          decorated(layerJetStream({ nats, apiPrefix, host: { epoch } })),
          store,
          copies,
          gpusLayer(gpus),
          keyring,
          Ledger.layerFile(join(folder, "ledger.jsonl")),
          Machine.layer(hostId, withGangNetwork(withSandbox(withGpus(ownCapabilities({ cpuMilliMax, memoryMibMax }), gpus), found), gangs)),
          runtimesWith(found, "why" in gangs ? undefined : gangs.network),
          WarrantVerifier.layer(cellKey)
        ])
      )
    }))
  }
})
