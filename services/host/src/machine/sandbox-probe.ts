import type { Capabilities } from "@millrace/schemas"
import { Effect, Option } from "effect"
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, statSync } from "node:fs"
import { delimiter, join } from "node:path"
import { createHash, randomUUID } from "node:crypto"
import { type NetworkProven, probeNetwork } from "./gang/network-probe.ts"
import type { Rung } from "./sandbox-bundle.ts"
import { command } from "./sandbox-command.ts"
import type { DiskLimit } from "./sandbox-disk.ts"
import { controlsAt, groupOf, ranOutOfMemory } from "./sandbox-limits.ts"
import { layPrograms } from "./sandbox-programs.ts"
import { commandLine, type Ground, prepare, release } from "./sandbox-ground.ts"
import { soundRunsc } from "./sandbox-runsc.ts"

/** What this machine showed that it can do, each by doing it once. */
export interface Proven {
  readonly ground: Ground
  readonly version: string
  readonly memory: boolean
  readonly pids: boolean
  readonly cpu: boolean
  readonly disk: boolean
  /** Limits that a program went past. One that is neither here nor held could not be tried. */
  readonly passed: ReadonlyArray<"memory" | "processes" | "disk">
  /** Whether members of gangs can have a network of their own. */
  readonly network: NetworkProven
}

/** Why there is no sandbox here. */
export interface Unproven {
  readonly why: string
}

const probeMsMax = 20_000
const probePrefix = "probe-"
/** Of its own: the groups of two agents on one machine lie in one place, and each takes away what it made. */
export const probeName = (): string => `${probePrefix}${randomUUID().slice(0, 8)}`

/**
 * Finds out whether work can be isolated here, by running it: the same bundle, flags and limits that jobs
 * get, with programs that go past each limit and must not get away with it. Nothing is believed because a
 * file exists. Takes about two seconds, at most a minute.
 */
export const probeSandbox = Effect.fnUntraced(function*(options: { readonly runsc: string | undefined; readonly folder: string }): Effect.fn.Return<Proven | Unproven> {
  const runsc = runscAt(options.runsc)
  if (process.platform !== "linux") return unproven("runsc runs on Linux only")
  if (runsc === undefined) return unproven("runsc was not found: install gVisor's runsc, or name it in MILLRACE_RUNSC")
  const version = /^runsc version (?:release-)?(\S+)/mu.exec((yield* command(runsc, ["--version"], probeMsMax)).stdout)?.[1]
  if (version === undefined) return unproven(`${runsc} does not say its version`)
  const bare = groundIn(options.folder, runsc)
  const sound = yield* Effect.option(Effect.tryPromise(() => soundRunsc(runsc, bare.folder)))
  if (Option.isNone(sound)) return unproven(`${runsc} cannot be read`)
  const named = sound.value.mended ? `${version}, with its goroutine number put right` : version
  const ground: Ground = { ...bare, runsc: sound.value.path }
  yield* Effect.forEach(readdirSync(ground.folder).filter((name) => name.startsWith(probePrefix)), (name) => release(ground, name), { discard: true })
  const [first, memory, pids, disk, network] = yield* Effect.all([
    runs(ground, "exit 42", {}),
    runs(ground, "dd if=/dev/zero of=/dev/null bs=400M count=1 2>/dev/null && exit 43", { memoryMib: 192, cpuMilli: 500 }),
    runs(ground, "exit 42", { pidsMax: 4 }),
    runs(ground, "dd if=/dev/zero of=/work/fill bs=1M count=64 2>/dev/null && exit 43; exit 42", { diskMib: 16 }),
    probeNetwork(ground, probeName())
  ], { concurrency: 4 })
  if (first.code !== 42) {
    // Without the groups or the image it may still isolate; then it is for work that is our own.
    const unlimited: Ground = { ...ground, disk: "none", controls: { kind: "none", why: first.said } }
    const again = yield* runs(unlimited, "exit 42", {})
    if (again.code !== 42) return unproven(`a program in the sandbox did not run: ${again.said}`)
    return { ground: unlimited, version: named, memory: false, pids: false, cpu: false, disk: false, passed: [], network: { why: "the sandbox has no limits here" } }
  }
  return {
    ground,
    version: named,
    memory: memory.outOfMemory && memory.code !== 43,
    pids: pids.code !== 42,
    cpu: memory.throttled,
    disk: ground.disk !== "none" && disk.code === 42,
    passed: [...(memory.code === 43 ? ["memory"] as const : []), ...(pids.code === 42 ? ["processes"] as const : []), ...(disk.code === 43 ? ["disk"] as const : [])],
    network
  }
})

/** The runsc that is named, else the one on PATH. */
export const runscAt = (named: string | undefined): string | undefined => named ?? onPath("runsc")

/** What sandboxes stand on here, with its folders made. Nothing of it is proven. */
export const groundIn = (hostFolder: string, runsc: string): Ground => {
  const asRoot = process.geteuid?.() === 0
  const folder = groundFolder(hostFolder)
  mkdirSync(folder, { recursive: true, mode: 0o711 })
  return {
    runsc,
    folder,
    programs: layPrograms(`${folder}-programs`),
    rung: (asRoot ? "mapped" : "caller") satisfies Rung,
    disk: (asRoot ? "image" : "none") satisfies DiskLimit,
    controls: controlsAt()
  }
}

/** Where the sandboxes of the host with this folder lie. */
export const groundFolder = (hostFolder: string): string => process.geteuid?.() === 0 ? groundOfRoot(hostFolder) : join(hostFolder, "sandboxes")

const unproven = (why: string): Unproven => ({ why })

/**
 * Root's sandboxes run as accounts that cannot pass through closed folders, and runsc's own socket needs a
 * short path. So they lie in a place of their own, one folder for each host of the machine.
 */
const groundOfRoot = (folder: string): string => join("/var/lib/millrace/sandboxes", createHash("sha256").update(folder).digest("hex").slice(0, 8))

/** The program of this name that a shell would run. */
export const onPath = (name: string): string | undefined =>
  (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "").map((folder) => join(folder, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return statSync(path).isFile()
    } catch {
      return false
    }
  })

const runs = Effect.fnUntraced(function*(ground: Ground, script: string, limits: { readonly memoryMib?: number; readonly cpuMilli?: number; readonly diskMib?: number; readonly pidsMax?: number }) {
  const name = probeName()
  const group = groupOf(ground.controls, name)
  const ran = yield* prepare(ground, {
    name,
    program: { argv: ["/bin/sh", "-c", script], env: {}, labels: {} },
    resources: { cpuMilli: limits.cpuMilli ?? 1000, memoryMib: limits.memoryMib ?? 128, diskMib: limits.diskMib ?? 8, gpus: 0 },
    ...(limits.pidsMax === undefined ? {} : { pidsMax: limits.pidsMax })
  }).pipe(
    Effect.andThen(Effect.suspend(() => {
      const [file = "", ...args] = commandLine(ground, name)
      return command(file, args, probeMsMax)
    })),
    Effect.map(({ code, stderr }) => ({ code, said: stderr.trim().slice(-400) || `it ended with ${code}`, outOfMemory: ranOutOfMemory(group), throttled: periodsIn(group.folders) > 0 })),
    Effect.catch(({ detail }) => Effect.succeed({ code: 127, said: detail, outOfMemory: false, throttled: false }))
  )
  yield* release(ground, name)
  return ran
})

/** How many periods a quota was watched over. Without a quota there are none. */
const periodsIn = (folders: ReadonlyArray<string>): number => {
  for (const folder of folders) {
    const path = join(folder, "cpu.stat")
    if (existsSync(path)) return Number(/^nr_periods (\d+)$/mu.exec(readFileSync(path, "utf8"))?.[1] ?? 0)
  }
  return 0
}

/** How much of the disk below a folder work may have together, in MiB: four fifths of what is free. */
const diskMibFree = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder)
  return Math.floor((bavail * bsize * 0.8) / 2 ** 20)
}

/**
 * What a machine says it can do, with what the probe proved. The work of others is taken only where isolation
 * and the limits of memory, processes and disk held; nothing stands in for one that did not.
 */
export const withSandbox = (own: Capabilities, found: Proven | Unproven): Capabilities => {
  if ("why" in found) return { ...own, labels: { ...own.labels, sandbox: `none: ${found.why}`.slice(0, 500) } }
  const { cpu, disk, ground, memory, pids, version } = found
  const said = (holds: boolean, by: string) => holds ? by : "not enforced"
  const control = ground.controls.kind === "none" ? "" : `cgroup ${ground.controls.kind}`
  return {
    ...own,
    resources: { ...own.resources, diskMib: diskMibFree(ground.folder) },
    runtimes: [...own.runtimes, "sandbox"],
    trusts: memory && pids && disk ? [...own.trusts, "others"] : own.trusts,
    labels: {
      ...own.labels,
      sandbox: "gvisor",
      "sandbox-version": version,
      "sandbox-platform": "systrap",
      "sandbox-account": ground.rung === "mapped" ? "a range of its own" : "the agent's",
      "limit-memory": said(memory, control),
      "limit-processes": said(pids, control),
      "limit-cpu": said(cpu, control),
      "limit-disk": said(disk, "a file system of its own")
    }
  }
}
