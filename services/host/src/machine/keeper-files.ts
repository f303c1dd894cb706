import { readFileSync } from "node:fs"
import { join } from "node:path"

/** What lies in a keeper's folder, which nobody else may read. */
export const keeperFiles = (folder: string) => ({
  folder,
  socket: join(folder, "keeper.sock"),
  /** Which process the keeper is: pid and start, so that no other process is taken for it. */
  identity: join(folder, "keeper.json"),
  log: join(folder, "keeper.log"),
  /** One file for each attempt that runs: how to end it when the keeper no longer can. */
  ends: join(folder, "ends")
})

/** When a process started, in clock ticks since boot; with its pid it names the process. Undefined: there is none. */
export const startOf = (pid: number): string | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    const [state, ...fields] = text.slice(text.lastIndexOf(")") + 2).split(" ")
    return state === "Z" ? undefined : fields[18]
  } catch {
    return undefined
  }
}

/** Which boot of the machine this is. */
export const bootId = (): string => {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
  } catch {
    // Elsewhere than on Linux nobody tells boots apart for us: a start of the agent counts as one.
    return `agent-${process.pid}-${process.hrtime.bigint()}`
  }
}

/**
 * Ends what the files in `ends` speak of: run by whoever finds that the keeper is gone. Each of them is a
 * list of these three commands; a process is told from one that took its number by when it started.
 */
export const endingScript = `
group() {
  IFS= read -r stat < "/proc/$1/stat" || return 0
  pid=$1 start=$2
  set -- \${stat##*) }
  shift 19
  [ "$1" = "$start" ] && kill -KILL "-$pid"
}
cgroup() { echo 1 > "$1/cgroup.kill"; }
run() { timeout -k 1 10 "$@" > /dev/null < /dev/null; }
exec 2> /dev/null
cd "$1" || exit 0
for file in att_*; do
  [ -e "$file" ] || continue
  . "./$file"
  for found in $(grep -lzxF "MILLRACE_ATTEMPT=$file" /proc/[0-9]*/environ); do
    found=\${found#/proc/}
    kill -KILL "\${found%/environ}"
  done
  rm -f "$file"
done
`

/** The same script behind the end of what is read: it waits until the keeper is gone. */
export const guardingScript = `while read -r _; do :; done; ${endingScript}`

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`

/** A file for the script above. */
export const endingOf = ({ cgroup, endWith = [], pid, start }: {
  readonly pid: number
  readonly start: string | undefined
  readonly endWith?: ReadonlyArray<string> | undefined
  readonly cgroup?: string | undefined
}): string =>
  [
    ...(start === undefined ? [] : [`group ${pid} ${start}`]),
    ...(cgroup === undefined ? [] : [`cgroup ${quoted(cgroup)}`]),
    ...(endWith.length === 0 ? [] : [`run ${endWith.map(quoted).join(" ")}`]),
    ""
  ].join("\n")
