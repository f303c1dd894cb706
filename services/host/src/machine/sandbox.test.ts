import { assert, describe, it } from "@effect/vitest"
import { findTool } from "@millrace/bootstrap"
import { Blobs } from "@millrace/blobs"
import { Digest, type JobSpec, type PlacementMade, type Program } from "@millrace/schemas"
import { Context, Effect, Layer, Option } from "effect"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { capabilities, placement } from "../testing/placement.ts"
import { snapshotAtEndOf } from "../domain/snapshot.ts"
import { Keeper } from "./keeper.ts"
import { monotonicMs } from "./keeper-words.ts"
import { LocalCopies, localCopies } from "./local-copies.ts"
import type { Ended, Running, Runtime } from "./runtime.ts"
import { type Sandbox, sandboxRuntime } from "./sandbox.ts"
import { hostIdsOf } from "./sandbox-bundle.ts"
import type { Ground } from "./sandbox-ground.ts"
import { groupsLeft } from "./sandbox-limits.ts"
import { misreadAt } from "./sandbox-runsc.ts"
import { probeSandbox, withSandbox } from "./sandbox-probe.ts"

const tool = findTool("runsc")
const runsc = "path" in tool ? tool.path : undefined
const host = mkdtempSync(join(tmpdir(), "millrace-sandbox-"))
const found = await Effect.runPromise(probeSandbox({ runsc: runsc ?? "/nowhere/runsc", folder: host }))
const able = "ground" in found && withSandbox(capabilities, found).trusts.includes("others")
if (!able) console.warn(`No sandbox with limits on this machine, so that alone is tested: ${JSON.stringify(found)}`)

const blobsHere = await Effect.runPromise(Effect.map(Effect.scoped(Layer.build(Blobs.memory)), (context) => Context.get(context, Blobs)))

/** One agent's life on the ground that the probe found. */
const agent = <A, E>(body: (sandbox: Sandbox, ground: Ground) => Effect.Effect<A, E>, atClose: "leave" | "end" = "leave", blobs = blobsHere) => {
  if (!("ground" in found)) return Effect.die(new Error("there is no sandbox here"))
  const { ground } = found
  return Effect.gen(function*() {
    const sandbox = yield* sandboxRuntime(ground, yield* Keeper)
    return yield* body(sandbox, ground)
  }).pipe(Effect.provide(Keeper.layer(join(host, "keeper"), { atClose })), Effect.provideService(Blobs, blobs))
}

let numbered = 0
const made = (spec: Partial<JobSpec> = {}, more: Partial<PlacementMade> = {}): PlacementMade => ({
  ...placement(`s${process.pid}${numbered += 1}`, { spec: { runtime: "sandbox", trust: "others", resources: { cpuMilli: 1000, memoryMib: 128, diskMib: 16, gpus: 0 }, ...spec } }),
  ...more
})

const sh = (script: string, more: Partial<Program> = {}): Program => ({ argv: ["/bin/sh", "-c", script], env: {}, labels: {}, ...more })
const start = (sandbox: Runtime, placed: PlacementMade, program: Program, leftMs = 60_000, socket?: string) =>
  sandbox.start({ made: placed, program, deadlineMs: monotonicMs() + leftMs, ...(socket === undefined ? {} : { socket }) })
const said = ({ output }: Ended, name = "stdout"): string => Buffer.from(output.find((stream) => stream.name === name)?.bytes ?? []).toString("utf8")

/** Runs it to its end and gives back all it took. */
const ran = (placed: PlacementMade, program: Program, look: (running: Running, ground: Ground) => Effect.Effect<void> = () => Effect.void) =>
  agent((sandbox, ground) => Effect.gen(function*() {
    const running = yield* start(sandbox, placed, program)
    yield* look(running, ground)
    const ended = yield* running.ended
    yield* running.release
    assert.deepStrictEqual(leftOf(ground, placed.attemptId), [])
    return ended
  }))

/** Everything of an attempt that the host still has. */
const leftOf = (ground: Ground, attemptId: string): ReadonlyArray<string> => [
  ...readdirSync(ground.folder).filter((name) => name === attemptId),
  ...groupsLeft(ground.controls).filter((name) => name === attemptId),
  ...readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter((line) => line.includes(attemptId)),
  ...processes(({ environ, cmdline }) => environ.includes(attemptId) || cmdline.includes(attemptId))
]

const processes = (holds: (process: { readonly cmdline: string; readonly environ: string; readonly uids: string }) => boolean): ReadonlyArray<string> =>
  readdirSync("/proc").filter((name) => /^\d+$/u.test(name) && Number(name) !== process.pid).filter((pid) => {
    const read = (name: string) => {
      try {
        return readFileSync(`/proc/${pid}/${name}`, "latin1")
      } catch {
        return ""
      }
    }
    return holds({ cmdline: read("cmdline"), environ: read("environ"), uids: /^Uid:(.*)$/mu.exec(read("status"))?.[1] ?? "" })
  })

const bytesOf = (digest: Digest) => Effect.map(blobsHere.getBytes(digest, 2 ** 20), (bytes) => Buffer.from(bytes).toString("utf8"))

afterAll(async () => {
  await Effect.runPromise(Keeper.use(({ end }) => end).pipe(Effect.provide(Keeper.layer(join(host, "keeper"), { atClose: "end" }))))
  if ("ground" in found) rmSync(found.ground.folder, { recursive: true, force: true })
  rmSync(host, { recursive: true, force: true })
})

describe("a host that cannot isolate", () => {
  it.live("offers no sandbox, takes nobody's work but its own, and says why", () => Effect.gen(function*() {
    const without = yield* probeSandbox({ runsc: "/nowhere/runsc", folder: host })
    const offered = withSandbox(capabilities, without)
    assert.deepStrictEqual(offered.runtimes, ["noop", "process"])
    assert.deepStrictEqual(offered.trusts, ["own"])
    assert.match(offered.labels["sandbox"] ?? "", /^none: .*runsc/u)
  }))

  it.live("a program called runsc that isolates nothing is believed nothing", () => Effect.gen(function*() {
    const offered = withSandbox(capabilities, yield* probeSandbox({ runsc: "/bin/true", folder: host }))
    assert.deepStrictEqual(offered.runtimes, ["noop", "process"])
  }))

  it("a runsc that misreads what it runs on is used with that byte put right, and no other is touched", () => {
    const reading = Buffer.from("644c8b3425f8ffffff4d8bb6a00000004c89742408c3", "hex")
    assert.strictEqual(misreadAt(Buffer.concat([Buffer.from("go1.26.2"), reading])), 20)
    assert.isUndefined(misreadAt(Buffer.concat([Buffer.from("go1.24.2"), reading])))
    assert.isUndefined(misreadAt(Buffer.concat([Buffer.from("go1.26.2"), reading, reading])))
    reading[12] = 0x98
    assert.isUndefined(misreadAt(Buffer.concat([Buffer.from("go1.26.2"), reading])))
  })

  it("limits that do not hold keep the work of others away, and are named", () => {
    if (!("ground" in found)) return assert.match(found.why, /runsc|sandbox/u)
    const offered = withSandbox(capabilities, { ...found, memory: false, cpu: false })
    assert.deepStrictEqual(offered.trusts, ["own"])
    assert.include(offered.labels, { "limit-memory": "not enforced", "limit-cpu": "not enforced" })
  })
})

if (able) describe("work in a sandbox", () => {
  beforeAll(() => Effect.runPromise(agent(() => Effect.void)), 30_000)

  it.live("is nobody of the host's, and its words stand on no command line", () => Effect.gen(function*() {
    const placed = made({ array: { tasks: 3 } }, { task: 2 })
    const secret = `secret-${placed.attemptId.slice(-8)}`
    const ended = yield* ran(placed, sh(`echo $0 $S $MILLRACE_JOB $MILLRACE_ATTEMPT $MILLRACE_TASK/$MILLRACE_TASKS $MILLRACE_ARTEFACTS; id -u; pwd; read line < /tmp/go; exit 7 # ${secret}`, {
      env: { S: secret },
      argv: ["/bin/sh", "-c", `echo $S $MILLRACE_JOB $MILLRACE_ATTEMPT $MILLRACE_TASK/$MILLRACE_TASKS $MILLRACE_ARTEFACTS; id -u; pwd; sleep 0.4; exit 7 # ${secret}`]
    }), (_, ground) => Effect.sync(() => {
      assert.deepStrictEqual(processes(({ cmdline, environ }) => cmdline.includes(secret) || environ.includes(secret)), [])
      const own = processes(({ uids }) => uids.split(/\s+/u).includes(String(hostIdsOf(placed.attemptId))))
      if (ground.rung === "mapped") assert.isAbove(own.length, 1)
    }))
    assert.strictEqual(said(ended), `${secret} ${placed.jobId} ${placed.attemptId} 2/3 /artefacts\n1000\n/work\n`)
    assert.strictEqual(ended.code, 7)
  }))

  it.live("finds the agent's own Node, whatever the machine has", () => Effect.gen(function*() {
    const ended = yield* ran(made(), sh("/opt/millrace/bin/node -p process.version; command -v node > /dev/null && echo 'on the path'; echo x > /opt/millrace/bin/node || echo 'not to be written'"))
    assert.strictEqual(said(ended), `${process.version}\non the path\nnot to be written\n`)
  }))

  it.live("a death by signal is told as that signal", () => Effect.gen(function*() {
    const ended = yield* ran(made(), sh("kill -TERM $$"))
    assert.deepInclude(ended, { signal: "SIGTERM" })
    assert.isFalse("code" in ended)
  }))

  it.live("a program that is not there is told as a shell would", () => Effect.gen(function*() {
    const ended = yield* ran(made(), sh("", { argv: ["/nowhere/program"] }))
    assert.strictEqual(ended.code, 127)
    assert.match(said(ended, "stderr"), /nowhere\/program/u)
  }))

  it.live("reaches no network, no file and no control of the host", () => Effect.gen(function*() {
    const ended = yield* ran(made(), sh(`
      exec 2>&1
      perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0); print connect(S,sockaddr_in(80,inet_aton("192.0.2.1"))) ? "connected\n" : "no connection\n"' || echo no perl
      awk 'NR > 2 { print "interface", $1 }' /proc/net/dev
      for file in /etc/shadow /home /boot /var /etc/ssh; do [ -e $file ] && echo sees $file; done
      for file in /usr/x /etc/x /x /lib/x; do (: > $file) 2> /dev/null && echo wrote $file; done
      for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper; do (exec 3<> $file) 2> /dev/null && echo opened $file; done
      grep -c . /etc/passwd
    `))
    assert.strictEqual(said(ended), "no connection\ninterface lo:\n3\n")
  }))

  it.live("what takes more memory than it asked for is ended, and it is said why", () => Effect.gen(function*() {
    const ended = yield* ran(made({ resources: { cpuMilli: 1000, memoryMib: 256 - 64, diskMib: 0, gpus: 0 } }), sh("dd if=/dev/zero of=/dev/null bs=400M count=1; echo survived"))
    assert.strictEqual(ended.cause, "out_of_memory")
    assert.strictEqual(said(ended), "")
  }))

  it.live("a full disk is the work's own, and the host's is not touched", () => Effect.gen(function*() {
    const ended = yield* ran(made(), sh("dd if=/dev/zero of=/work/fill bs=1M count=64 2>&1 | grep -o 'No space left'; dd if=/dev/zero of=/artefacts/fill bs=1M count=64 2> /dev/null || echo refused"))
    assert.strictEqual(said(ended), "No space left\nrefused\n")
  }))

  it.live("finds its files, and what it leaves in /artefacts is kept, links and pipes aside", () => Effect.gen(function*() {
    const [text, script] = yield* Effect.all([blobsHere.putBytes(Buffer.from("hello")), blobsHere.putBytes(Buffer.from("#!/bin/sh\necho ran\n"))])
    const ended = yield* ran(made(), sh("cat in/a.txt; /opt/tool/run; mkdir -p /artefacts/d; printf made > /artefacts/d/b; : > /artefacts/empty; : > /artefacts/stdout; ln -s /etc/passwd /artefacts/link; ln -s / /artefacts/root; mkfifo /artefacts/pipe", {
      files: [{ path: "/work/in/a.txt", blob: text, executable: false }, { path: "/opt/tool/run", blob: script, executable: true }]
    }))
    assert.strictEqual(said(ended), "helloran\n")
    assert.deepStrictEqual(ended.artefacts?.map(({ droppedBytes, name }) => [name, droppedBytes]), [["d/b", 0], ["empty", 0], ["./stdout", 0]])
    assert.strictEqual(yield* bytesOf(ended.artefacts?.[0]?.blob.digest ?? text.digest), "made")
  }))

  it.live("speaks to the host over its socket alone", () => Effect.gen(function*() {
    const path = join(host, "api.sock")
    const server = createServer((client) => client.once("data", (asked) => client.end(`heard ${asked}`)))
    yield* Effect.promise(() => new Promise<void>((listening) => server.listen(path, listening)))
    const ended = yield* agent((sandbox) => Effect.gen(function*() {
      const running = yield* start(sandbox, made(), sh(`perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0); connect(S,sockaddr_un($ENV{MILLRACE_SOCKET})) or die $!; syswrite S,"me"; print <S>'; (: > /run/millrace/x) 2> /dev/null && echo wrote`), 60_000, path)
      const ended = yield* running.ended
      yield* running.release
      return ended
    }))
    server.close()
    assert.strictEqual(said(ended), "heard me", said(ended, "stderr"))
  }))

  it.live("taken up by the next agent it speaks to that one's socket", () => Effect.gen(function*() {
    const path = join(host, "taken-up.sock")
    const listening = (word: string) => Effect.promise(() => new Promise<Server>((open) => {
      rmSync(path, { force: true })
      const server: Server = createServer((client) => client.end(word)).listen(path, () => open(server))
    }))
    const placed = made()
    const first = yield* listening("first")
    const script = `perl -MSocket -e 'for (1..200) { socket(S,PF_UNIX,SOCK_STREAM,0); if (connect(S,sockaddr_un($ENV{MILLRACE_SOCKET}))) { my $w=<S>; if ($w eq "second") { print $w; exit 5 } } select(undef,undef,undef,0.05) }'`
    yield* agent((sandbox) => start(sandbox, placed, sh(script), 60_000, path))
    first.close()
    const second = yield* listening("second")
    const ended = yield* agent((sandbox, ground) => Effect.gen(function*() {
      const running = Option.getOrThrow(yield* sandbox.adopt(placed, path))
      const ended = yield* running.ended
      // Nobody knows of it any more: it is cleared away.
      yield* sandbox.clear(new Set())
      assert.deepStrictEqual(leftOf(ground, placed.attemptId), [])
      return ended
    }))
    second.close()
    assert.deepInclude(ended, { code: 5 })
    assert.strictEqual(said(ended), "second")
  }))

  it.live("asked to end it ends, and nothing of it is left", () => Effect.gen(function*() {
    const ended = yield* ran(made(), sh("trap '' TERM; while :; do sleep 1; done"), (running) => running.stop)
    assert.isDefined(ended.signal ?? ended.code)
  }))

  it.live("is ended at its deadline by the keeper, whatever the agent does", () => Effect.gen(function*() {
    const placed = made()
    const ended = yield* agent((sandbox) => Effect.gen(function*() {
      const running = yield* start(sandbox, placed, sh("sleep 60"), 1_500)
      const ended = yield* running.ended
      yield* running.release
      return ended
    }))
    assert.strictEqual(ended.cause, "lease_ended")
  }))

  it.live("outlives its agent: the next one takes it up, and hears all of it", () => Effect.gen(function*() {
    const placed = made()
    yield* agent((sandbox) => start(sandbox, placed, sh("sleep 0.3; echo late; echo kept > /artefacts/a; exit 3")))
    const ended = yield* agent((sandbox, ground) => Effect.gen(function*() {
      const running = Option.getOrThrow(yield* sandbox.adopt(placed))
      yield* running.ended
      // An agent that falls before it has told the end leaves everything for the next one.
      const again = Option.getOrThrow(yield* sandbox.adopt(placed))
      const ended = yield* again.ended
      yield* again.release
      assert.deepStrictEqual(leftOf(ground, placed.attemptId), [])
      assert.isTrue(Option.isNone(yield* sandbox.adopt(placed)))
      return ended
    }))
    assert.strictEqual(said(ended), "late\n")
    assert.deepInclude(ended, { code: 3 })
    assert.deepStrictEqual(ended.artefacts?.map(({ name }) => name), ["a"])
  }))

  it.live("an orphan is ended with all that it took", () => Effect.gen(function*() {
    const placed = made()
    yield* agent((sandbox) => start(sandbox, placed, sh("sleep 60")))
    yield* agent((sandbox, ground) => Effect.gen(function*() {
      assert.isNotEmpty(leftOf(ground, placed.attemptId))
      yield* sandbox.endOrphan(placed.attemptId)
      assert.deepStrictEqual(leftOf(ground, placed.attemptId), [])
      yield* sandbox.endOrphan(placed.attemptId)
    }))
  }))

  it.live("what cannot start leaves nothing, and says what is wrong", () => agent((sandbox, ground) => Effect.gen(function*() {
    const missing = { digest: Digest.make(`sha256:${"0".repeat(64)}`), sizeBytes: 5 }
    const whole = yield* blobsHere.putBytes(Buffer.from("x".repeat(100)))
    const tries: ReadonlyArray<readonly [PlacementMade, Program, RegExp]> = [
      [made({ egress: ["example.org:443"] }), sh("true"), /network/u],
      [made(), sh("true", { argv: [] }), /argv/u],
      [made(), sh("true", { files: [{ path: "/work/a", blob: missing, executable: false }] }), /No blob/u],
      [made(), sh("true", { files: [{ path: "/usr/bin/sh", blob: whole, executable: false }] }), /cannot lie/u],
      [made(), sh("true", { files: [{ path: "/work/a", blob: { ...whole, sizeBytes: 2 ** 40 }, executable: false }] }), /disk/u]
    ]
    for (const [placed, program, detail] of tries) {
      const failure = yield* Effect.flip(start(sandbox, placed, program))
      assert.match(failure.detail, detail)
      assert.deepStrictEqual(leftOf(ground, placed.attemptId), [])
    }
  })))

  it.live("its files are kept at its end, and any number of others start from them", () => Effect.gen(function*() {
    const first = yield* ran(made({ snapshotAtEnd: "files" }), sh("mkdir d; echo one > d/a; ln -s /etc/passwd d/link; chmod 755 d/a; dd if=/dev/zero of=big bs=1M count=3 2> /dev/null; mkfifo pipe"))
    const blob = first.snapshot
    assert.isDefined(blob)
    if (blob === undefined) return
    const from = { snapshotId: "snp_00000000000000000000000000" as NonNullable<PlacementMade["from"]>["snapshotId"], blob }
    const forks = yield* Effect.all([1, 2].map((fork) =>
      ran(made({ snapshotAtEnd: "files" }, { from }), sh(`find . | sort | tr '\\n' ' '; cat d/a; readlink d/link; stat -c '%a %u' d/a; echo ${fork} > d/a`))), { concurrency: 2 })
    for (const fork of forks) assert.strictEqual(said(fork), ". ./big ./d ./d/a ./d/link one\n/etc/passwd\n755 1000\n", said(fork, "stderr"))
    assert.notStrictEqual(forks[0]?.snapshot?.digest, forks[1]?.snapshot?.digest)
    const unchanged = yield* ran(made({ snapshotAtEnd: "files" }, { from }), sh("true"))
    assert.deepStrictEqual(unchanged.snapshot, blob)
  }))

  it.live("what it begins with is loaded once: the next one begins with the host's own copy, and with what the last one left", () => Effect.gen(function*() {
    const at = join(host, "copies")
    const copies = Context.get((yield* Layer.build(localCopies(at, 2 ** 20))) as Context.Context<never>, LocalCopies)
    const read: Array<Digest> = []
    const counting: Blobs["Service"] = { ...blobsHere, get: (digest) => {
      read.push(digest)
      return blobsHere.get(digest)
    } }
    const input = yield* blobsHere.putBytes(Buffer.from("a model"))
    const once = (placed: PlacementMade) => agent((sandbox) => Effect.gen(function*() {
      const running = yield* start(sandbox, placed, sh("cat model; cat left 2> /dev/null; echo me > left", { files: [{ path: "/work/model", blob: input, executable: false }] }))
      const ended = yield* running.ended
      yield* running.release
      return ended
    }), "leave", counting).pipe(Effect.provideService(LocalCopies, copies))
    const first = made({ snapshotAtEnd: "files" })
    const { snapshot } = yield* once(first)
    assert.deepStrictEqual(read, [input.digest])
    const from = { snapshotId: snapshotAtEndOf(first), blob: snapshot! }
    assert.deepStrictEqual([...copies.held().copies.snapshots], [[from.snapshotId, from.blob.digest]])
    assert.strictEqual(said(yield* once(made({}, { from }))), "a modelme\n")
    assert.deepStrictEqual(read, [input.digest])
  }).pipe(Effect.scoped))

  it.live("bytes that are no snapshot start nothing", () => agent((sandbox, ground) => Effect.gen(function*() {
    const blob = yield* blobsHere.putBytes(Buffer.from("this is no archive"))
    const placed = made({}, { from: { snapshotId: "snp_00000000000000000000000000" as NonNullable<PlacementMade["from"]>["snapshotId"], blob } })
    assert.match((yield* Effect.flip(start(sandbox, placed, sh("true")))).detail, /could not be unpacked/u)
    assert.deepStrictEqual(leftOf(ground, placed.attemptId), [])
    assert.isFalse(existsSync(join(ground.folder, placed.attemptId)))
  })))
})
