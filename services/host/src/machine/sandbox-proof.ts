import { Effect, Option, Schema } from "effect"
import { createHash } from "node:crypto"
import { readFile, rename, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { probeNetwork } from "./gang/network-probe.ts"
import { bootId } from "./machine.ts"
import { placesIn, runscFlags } from "./sandbox-bundle.ts"
import type { Ground } from "./sandbox-ground.ts"
import { groundIn, probeName, probeSandbox, type Proven, runscAt, type Unproven } from "./sandbox-probe.ts"

/** A machine no longer isolates as an earlier start of the agent saw it do since the same boot. */
export class ProofBroken extends Schema.TaggedError<ProofBroken>()("ProofBroken", { detail: Schema.String }) {
  override get message() {
    return `The sandbox holds less than when it was proven: ${this.detail}. The proof is thrown away: start the agent again, and it says what holds now`
  }
}

/** Where to look, and who asks. */
export interface ProofOptions {
  readonly runsc: string | undefined
  /** The host's own folder. */
  readonly folder: string
  readonly agentVersion: string
}

const Kept = Schema.fromJsonString(Schema.Struct({ under: Schema.String, runsc: Schema.String, version: Schema.String, network: Schema.optionalKey(Schema.Boolean) }))
const decodeKept = Schema.decodeUnknownOption(Kept)

const fileIn = (folder: string): string => join(folder, "sandbox-proof.json")

/**
 * What the sandbox can do here: from the probe, or from what an earlier start saw it prove under the very same
 * circumstances. Only a proof of everything is kept, so that what failed once, perhaps on a busy machine, is
 * tried again at the next start. It holds for one boot of the kernel, one runsc byte for byte, one version of the
 * agent, and the same account, groups and flags; whatever else may change makes a start of work fail, and
 * takes no limit away.
 */
export const provenSandbox = Effect.fnUntraced(function*(options: ProofOptions): Effect.fn.Return<Proven | Unproven> {
  const kept = decodeKept(yield* Effect.promise(() => readFile(fileIn(options.folder), "utf8").catch(() => "")))
  const runsc = runscAt(options.runsc)
  if (Option.isSome(kept) && runsc !== undefined) {
    const ground = groundIn(options.folder, kept.value.runsc)
    if ((yield* circumstances(options.agentVersion, ground, runsc)) === kept.value.under) {
      // A network of gangs that could not be made may be possible now: it takes no limit away to look.
      const network = kept.value.network === true ? { made: true as const } : yield* probeNetwork(ground, probeName())
      return { ground, version: kept.value.version, memory: true, pids: true, cpu: true, disk: true, passed: [], network }
    }
  }
  const found = yield* probeSandbox(options)
  if (holdsAll(found) && runsc !== undefined) {
    const under = yield* circumstances(options.agentVersion, found.ground, runsc)
    yield* keep(options.folder, { under, runsc: found.ground.runsc, version: found.version, network: "made" in found.network })
  } else yield* forget(options.folder)
  return found
})

/** How long after its start an agent looks whether what it took from an earlier start still holds, and how long after a look that could not tell, in ms. */
const verifyAfterMs = 60_000
const verifyAgainMs = 600_000

/**
 * Proves a kept proof anew, beside the work, and succeeds when it holds. Where a program goes past a limit, twice in a row, the
 * proof is thrown away and it fails. A probe that could not be tried, as on a full disk, shows no such thing: work does
 * not start then either. It is tried again, and the next start of the agent proves for itself.
 */
export const verifyProof = Effect.fnUntraced(function*(options: ProofOptions, said: Proven | Unproven, afterMs = verifyAfterMs): Effect.fn.Return<void, ProofBroken> {
  if (!holdsAll(said)) return
  const holds = (found: Proven | Unproven): boolean => holdsAll(found) && ("made" in found.network || !("made" in said.network))
  let waitMs = afterMs
  while (true) {
    yield* Effect.sleep(waitMs)
    const first = yield* probeSandbox(options)
    if (holds(first)) return
    yield* forget(options.folder)
    const found = yield* probeSandbox(options)
    const passed = "passed" in first && "passed" in found ? first.passed.filter((limit) => found.passed.includes(limit)) : []
    if (passed.length > 0) return yield* new ProofBroken({ detail: `a program went past its limit of ${passed.join(" and of ")}` })
    yield* Effect.logWarning(`Whether the sandbox still holds could not be found out: ${"why" in found ? found.why : [...lacking(found), ..."why" in found.network ? [found.network.why] : []].join(", ")}`)
    waitMs = verifyAgainMs
  }
})

const holdsAll = (found: Proven | Unproven): found is Proven => !("why" in found) && lacking(found).length === 0

const lacking = ({ cpu, disk, memory, pids }: Proven): ReadonlyArray<string> =>
  Object.entries({ memory, processes: pids, processor: cpu, disk }).filter(([, holds]) => !holds).map(([limit]) => `the limit of ${limit} does not hold`)

/** Everything that a proof depends on, in one digest. */
const circumstances = (agentVersion: string, ground: Ground, runsc: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const digests = await Promise.all([runsc, ground.runsc].map((path) => readFile(path).then((bytes) => createHash("sha256").update(bytes).digest("hex"), () => "not there")))
    const { controls, disk, folder, rung } = ground
    return createHash("sha256")
      .update(JSON.stringify([bootId(), digests, agentVersion, process.versions.node, folder, rung, disk, controls, runscFlags({ places: placesIn(folder), rung })]))
      .digest("hex")
  })

const keep = (folder: string, kept: typeof Kept.Type): Effect.Effect<void> =>
  Effect.promise(async () => {
    const draft = `${fileIn(folder)}.next`
    await writeFile(draft, JSON.stringify(kept), { mode: 0o600 })
    await rename(draft, fileIn(folder))
  }).pipe(Effect.catchDefect((cause) => Effect.logWarning(`What the sandbox proved is not kept, and will be proven again: ${String(cause)}`)))

const forget = (folder: string): Effect.Effect<void> => Effect.promise(() => rm(fileIn(folder), { force: true }))
