import type { Resources } from "@millrace/schemas"
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"

/** Which control groups this machine lets the agent use. Source: kernel documentation, cgroup-v1 and cgroup-v2. */
export type Controls =
  | { readonly kind: "v2"; readonly parent: string }
  | { readonly kind: "v1"; readonly parents: Readonly<Record<"memory" | "pids", string>>; readonly cpu: string | undefined }
  | { readonly kind: "none"; readonly why: string }

/** One attempt's groups, each a folder of the control file system. */
export interface Group {
  readonly controls: Controls
  readonly folders: ReadonlyArray<string>
}

/**
 * The sandbox's own kernel and its file server need memory and threads too. They are given on top of what
 * the job asked for, so that a job that asks for 64 MiB can use them.
 */
const ownMemoryMib = 64
const pidsMax = 1024
const cpuPeriodUs = 100_000
const prefix = "millrace-"

/** What this machine offers. It is a guess from files that exist: the probe then shows whether it holds. */
export const controlsAt = (mount = "/sys/fs/cgroup"): Controls => {
  if (existsSync(join(mount, "cgroup.controllers"))) return v2At(mount)
  const memory = join(mount, "memory", ownPath("memory"))
  const pids = join(mount, "pids", ownPath("pids"))
  const cpu = join(mount, "cpu", ownPath("cpu"))
  for (const parent of [memory, pids]) {
    if (!isWritable(parent)) return { kind: "none", why: `${parent} cannot be written` }
  }
  return { kind: "v1", parents: { memory, pids }, cpu: isWritable(cpu) ? cpu : undefined }
}

const v2At = (mount: string): Controls => {
  const own = join(mount, ownPath(""))
  // A group with processes of its own cannot hand controllers down: its parent is the place then.
  for (const parent of [own, join(own, "..")]) {
    if (!parent.startsWith(mount) || !isWritable(parent)) continue
    try {
      writeFileSync(join(parent, "cgroup.subtree_control"), "+memory +pids +cpu")
      return { kind: "v2", parent }
    } catch {
      continue
    }
  }
  return { kind: "none", why: `no group above ${own} hands down memory, pids and cpu: run the agent as a unit with Delegate=yes` }
}

const ownPath = (controller: string): string => {
  const line = readFileSync("/proc/self/cgroup", "utf8").split("\n").find((line) => line.split(":")[1]?.split(",").includes(controller))
  return line?.split(":").slice(2).join(":") ?? "/"
}

const isWritable = (path: string): boolean => {
  try {
    accessSync(path, constants.W_OK)
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/** The groups of one attempt, whether they exist or not: a restarted agent finds them by name. */
export const groupOf = (controls: Controls, name: string): Group => {
  const child = `${prefix}${name}`
  switch (controls.kind) {
    case "v2":
      return { controls, folders: [join(controls.parent, child)] }
    case "v1":
      return { controls, folders: [controls.parents.memory, controls.parents.pids, ...(controls.cpu === undefined ? [] : [controls.cpu])].map((parent) => join(parent, child)) }
    case "none":
      return { controls, folders: [] }
  }
}

/** Makes the groups with their limits. Making them again sets the same limits again. */
export const makeGroup = ({ controls, folders }: Group, { cpuMilli, memoryMib }: Pick<Resources, "cpuMilli" | "memoryMib">, processesMax = pidsMax): void => {
  for (const folder of folders) mkdirSync(folder, { recursive: true })
  const bytes = (memoryMib + ownMemoryMib) * 2 ** 20
  const quotaUs = Math.max(1000, Math.ceil(cpuMilli * cpuPeriodUs / 1000))
  const [first, second, third] = folders
  if (controls.kind === "v2" && first !== undefined) {
    set(first, "memory.max", bytes)
    setIfThere(first, "memory.swap.max", 0)
    set(first, "memory.oom.group", 1)
    set(first, "pids.max", processesMax)
    if (cpuMilli > 0) set(first, "cpu.max", `${quotaUs} ${cpuPeriodUs}`)
  }
  if (controls.kind === "v1" && first !== undefined && second !== undefined) {
    set(first, "memory.limit_in_bytes", bytes)
    setIfThere(first, "memory.memsw.limit_in_bytes", bytes)
    set(second, "pids.max", processesMax)
    if (third !== undefined && cpuMilli > 0) {
      set(third, "cpu.cfs_period_us", cpuPeriodUs)
      set(third, "cpu.cfs_quota_us", quotaUs)
    }
  }
}

/** Whether the machine ended something in the group because its memory was used up. */
export const ranOutOfMemory = ({ controls, folders: [first] }: Group): boolean => {
  if (first === undefined) return false
  const text = read(join(first, controls.kind === "v2" ? "memory.events" : "memory.oom_control"))
  return Number(/^oom_kill (\d+)$/mu.exec(text)?.[1] ?? 0) > 0
}

/** Who is in the group now. */
export const membersOf = ({ folders }: Group): ReadonlyArray<number> => [
  ...new Set(folders.flatMap((folder) => read(join(folder, "cgroup.procs")).split("\n").filter((line) => line !== "").map(Number)))
]

/** Ends everybody in the group at once. What forks meanwhile is met by the next call: ask again until nobody is left. */
export const killGroup = (group: Group): void => {
  const [first] = group.folders
  if (group.controls.kind === "v2" && first !== undefined && setIfThere(first, "cgroup.kill", 1)) return
  for (const pid of membersOf(group)) {
    try {
      process.kill(pid, "SIGKILL")
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "ESRCH") throw cause
    }
  }
}

/** Removes the groups. False while somebody is still in one. */
export const removeGroup = ({ folders }: Group): boolean => {
  let gone = true
  for (const folder of folders) {
    try {
      rmdirSync(folder)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "ENOENT") gone = false
    }
  }
  return gone
}

/** The names of all groups that agents made on this machine and that are still there. */
export const groupsLeft = (controls: Controls): ReadonlyArray<string> => {
  const parents = controls.kind === "v2" ? [controls.parent] : controls.kind === "v1" ? [controls.parents.memory, controls.parents.pids] : []
  return [...new Set(parents.flatMap((parent) => readdirSync(parent)).filter((name) => name.startsWith(prefix)).map((name) => basename(name).slice(prefix.length)))]
}

const set = (folder: string, name: string, value: string | number): void => writeFileSync(join(folder, name), String(value))

const setIfThere = (folder: string, name: string, value: string | number): boolean => {
  if (!existsSync(join(folder, name))) return false
  set(folder, name, value)
  return true
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}
