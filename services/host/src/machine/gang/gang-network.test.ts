import { assert, describe, it } from "@effect/vitest"
import { findTool } from "@millrace/bootstrap"
import { Blobs } from "@millrace/blobs"
import type { AttemptId, JobSpec, PlacementMade, Program } from "@millrace/schemas"
import { Context, Effect, Exit, Layer, Option, Scope } from "effect"
import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createSocket, type Socket as Datagrams } from "node:dgram"
import { type AddressInfo, createServer, type Server } from "node:net"
import { networkInterfaces, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll } from "vitest"
import { placement } from "../../testing/placement.ts"
import { Keeper } from "../keeper.ts"
import { monotonicMs } from "../keeper-words.ts"
import type { Ended, Running } from "../runtime.ts"
import { sandboxRuntime } from "../sandbox.ts"
import { probeSandbox } from "../sandbox-probe.ts"
import { groupsLeft } from "../sandbox-limits.ts"
import type { GangNetwork } from "./network.ts"
import { keepSwitch } from "./switch.ts"
import { switchFiles } from "./switch-words.ts"

const tool = findTool("runsc")
const base = mkdtempSync(join(tmpdir(), "millrace-gang-"))
const found = await Effect.runPromise(probeSandbox({ runsc: "path" in tool ? tool.path : "/nowhere/runsc", folder: base }))
const able = "ground" in found ? found.network : found
if ("why" in able) console.warn(`No networks of gangs on this machine, so their words alone are tested: ${able.why}`)

const blobs = await Effect.runPromise(Effect.map(Effect.scoped(Layer.build(Blobs.memory)), (context) => Context.get(context, Blobs)))

/** One host of the machine: a switch, a keeper and a sandbox runtime of its own. */
const host = Effect.fnUntraced(function*(name: string, { address, atClose = "end" }: { readonly address?: string; readonly atClose?: "leave" | "end" } = {}) {
  if (!("ground" in found)) return yield* Effect.die(new Error("there is no sandbox here"))
  const folder = join(base, name)
  const kept = yield* keepSwitch(folder, address)
  const network: GangNetwork = {
    switch: kept,
    keyOf: ({ gang }) => Effect.sync(() => createHash("sha256").update(`secret of ${gang?.network?.id}`).digest()),
    bytesPerSecondMax: 125_000_000
  }
  const context = yield* Layer.build(Layer.fresh(Keeper.layer(join(folder, "keeper"), { atClose })))
  const runtime = yield* Effect.provideService(sandboxRuntime(found.ground, Context.get(context, Keeper), network), Blobs, blobs)
  return { folder, kept, runtime, at: kept.at ?? name }
})
type Host = Effect.Success<ReturnType<typeof host>>

let numbered = 0
/** The members' placements, each on its host. */
const gangOn = (hosts: ReadonlyArray<Host>, id = `att_gang${process.pid}${numbered += 1}`): ReadonlyArray<PlacementMade> =>
  hosts.map(() => placement(`g${process.pid}${numbered += 1}`, {
    spec: { runtime: "sandbox", trust: "others", resources: { cpuMilli: 1000, memoryMib: 128, diskMib: 8, gpus: 0 } } satisfies Partial<JobSpec>
  })).map((made, rank) => ({
    ...made,
    gang: { rank, members: hosts.length, addresses: hosts.map(({ at }) => at), network: { id: id as AttemptId, hosts: hosts.map(({ at }) => at) } }
  }))

const perl = (script: string): Program => ({ argv: ["/usr/bin/perl", "-MSocket", "-e", script], env: {}, labels: {} })
const start = ({ runtime }: Pick<Host, "runtime">, made: PlacementMade, program: Program) => runtime.start({ made, program, deadlineMs: monotonicMs() + 60_000 })
const said = ({ output }: Ended, name = "stdout"): string => Buffer.from(output.find((stream) => stream.name === name)?.bytes ?? []).toString("utf8")

/** Answers one caller over TCP and one over UDP, each with who it was and what it said. */
const answering = perl(`
  $| = 1;
  socket(L, PF_INET, SOCK_STREAM, 0); setsockopt(L, SOL_SOCKET, SO_REUSEADDR, 1); bind(L, sockaddr_in(7001, INADDR_ANY)) or die "tcp: $!"; listen(L, 5);
  socket(U, PF_INET, SOCK_DGRAM, 0); bind(U, sockaddr_in(7002, INADDR_ANY)) or die "udp: $!";
  $peer = accept(C, L); (undef, $ip) = sockaddr_in($peer); $line = <C>; syswrite C, "tcp " . inet_ntoa($ip) . " $line"; close C;
  $peer = recv(U, $word, 2000, 0); (undef, $ip) = sockaddr_in($peer); send(U, "udp " . inet_ntoa($ip) . " $word", 0, $peer);
  select(undef, undef, undef, 0.2); print "answered\\n";
`)
/** Asks a member by name until it answers, at most for 20 s each way. */
const asking = (name: string) => perl(`
  $| = 1; $to = inet_aton("${name}") or die "no name";
  for (1..200) { socket(S, PF_INET, SOCK_STREAM, 0); last if connect(S, sockaddr_in(7001, $to)); close S; select(undef, undef, undef, 0.1) }
  syswrite S, "hello\\n"; print scalar <S>;
  socket(U, PF_INET, SOCK_DGRAM, 0);
  for (1..20) { send(U, "again", 0, sockaddr_in(7002, $to)); $r = ""; vec($r, fileno(U), 1) = 1; if (select($r, undef, undef, 1)) { recv(U, $w, 2000, 0); print "$w\\n"; last } }
`)

/** Answers every word over UDP, for as long as it runs. */
const counting = perl(`socket(U, PF_INET, SOCK_DGRAM, 0); bind(U, sockaddr_in(7002, INADDR_ANY)); while (1) { $peer = recv(U, $word, 2000, 0); send(U, $word, 0, $peer) }`)
/** Asks so many times, one tenth of a second apart, and says each time that it was answered. */
const counted = (name: string, times: number) => perl(`
  $| = 1; socket(U, PF_INET, SOCK_DGRAM, 0); $to = sockaddr_in(7002, inet_aton("${name}"));
  for (1..${times}) { send(U, "$_", 0, $to); $r = ""; vec($r, fileno(U), 1) = 1; print "." if select($r, undef, undef, 0.1) && defined recv(U, $w, 2000, 0); select(undef, undef, undef, 0.1) }
`)
const countedIn = ({ attemptId }: PlacementMade): number => "ground" in found ? read(join(found.ground.folder, attemptId, "stdout")).length : 0

/** Looks until it is so, at most for 20 s. */
const until = <A>(look: () => A, isSo: (seen: A) => boolean): Effect.Effect<A> => untilIs(Effect.sync(look), isSo)
const untilIs = <A>(look: Effect.Effect<A>, isSo: (seen: A) => boolean): Effect.Effect<A> => {
  const again: Effect.Effect<A> = Effect.flatMap(look, (seen) => isSo(seen) ? Effect.succeed(seen) : Effect.andThen(Effect.sleep("50 millis"), again))
  return Effect.timeoutOrElse(again, { duration: "20 seconds", orElse: () => Effect.flatMap(look, (seen) => Effect.die(new Error(`still ${String(seen)}`))) })
}

/** A port of this machine that somebody listens at, on every address. */
const listening = Effect.acquireRelease(
  Effect.callback<Server>((resume) => {
    const server: Server = createServer((client) => client.end("the host\n")).listen(0, "0.0.0.0", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.sync(() => void server.close())
).pipe(Effect.map((server) => (server.address() as AddressInfo).port))

/** An address of this machine that others reach it at, where it has one. */
const outward = (): string => Object.values(networkInterfaces()).flat().find((one) => one?.family === "IPv4" && !one.internal)?.address ?? ""

const switchPid = (socket: string): Effect.Effect<number> =>
  Effect.sync(() => Number(readdirSync("/proc").find((pid) => /^\d+$/u.test(pid) && read(`/proc/${pid}/cmdline`).split("\0").includes(dirname(socket)) && read(`/proc/${pid}/cmdline`).includes("switch-main.ts"))))

const ended = (running: Running) => Effect.tap(running.ended, () => running.release)

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1")
  } catch {
    return ""
  }
}
const processesOf = ({ attemptId }: Pick<PlacementMade, "attemptId">): ReadonlyArray<string> =>
  readdirSync("/proc").filter((pid) => /^\d+$/u.test(pid) && Number(pid) !== process.pid && (read(`/proc/${pid}/environ`) + read(`/proc/${pid}/cmdline`)).includes(attemptId))

/** Everything that the machine still has of these attempts: folders, groups, mounts, processes. */
const leftOf = (made: ReadonlyArray<PlacementMade>): ReadonlyArray<string> => made.flatMap(({ attemptId }) => !("ground" in found) ? [] : [
  ...readdirSync(found.ground.folder).filter((name) => name === attemptId),
  ...groupsLeft(found.ground.controls).filter((name) => name === attemptId),
  ...read("/proc/self/mountinfo").split("\n").filter((line) => line.includes(attemptId)),
  ...processesOf({ attemptId })
])

afterAll(() => {
  if ("ground" in found) rmSync(found.ground.folder, { recursive: true, force: true })
  rmSync(base, { recursive: true, force: true })
})

if (!("why" in able)) describe("members of a gang", () => {
  it.live("on one host speak to each other over TCP and UDP by name, and leave nothing behind", () => Effect.gen(function*() {
    const one = yield* host("one")
    const made = gangOn([one, one])
    const [answers, asks] = yield* Effect.all([start(one, made[0]!, answering), start(one, made[1]!, asking("rank-0"))], { concurrency: 2 })
    const [answered, asked] = yield* Effect.all([ended(answers), ended(asks)], { concurrency: 2 })
    assert.strictEqual(said(asked), "tcp 10.77.0.2 hello\nudp 10.77.0.2 again\n", said(asked, "stderr"))
    assert.strictEqual(said(answered), "answered\n", said(answered, "stderr"))
    assert.deepStrictEqual(leftOf(made), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("on two hosts do so too", () => Effect.gen(function*() {
    const [near, far] = yield* Effect.all([host("near", { address: "127.0.0.1" }), host("far", { address: "127.0.0.1" })])
    const made = gangOn([near, far])
    const [answers, asks] = yield* Effect.all([start(near, made[0]!, answering), start(far, made[1]!, asking("rank-0"))], { concurrency: 2 })
    const [answered, asked] = yield* Effect.all([ended(answers), ended(asks)], { concurrency: 2 })
    assert.strictEqual(said(asked), "tcp 10.77.0.2 hello\nudp 10.77.0.2 again\n", said(asked, "stderr"))
    assert.strictEqual(said(answered), "answered\n", said(answered, "stderr"))
    assert.deepStrictEqual(leftOf(made), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("are seen to do something while they speak to each other, by the agent that began them and by the next", () => Effect.gen(function*() {
    const one = yield* host("speaking")
    const made = gangOn([one, one])
    const running = yield* Effect.all([start(one, made[0]!, counting), start(one, made[1]!, counted("rank-0", 400))], { concurrency: 2 })
    const said = (running: Running) => Effect.map(running.doings!, ({ gangBytes }) => gangBytes)
    const both = Effect.all(running.map(said))
    const first = yield* untilIs(both, (bytes) => bytes.every((one) => one > 0))
    yield* untilIs(both, (bytes) => bytes.every((one, rank) => one > first[rank]!))
    const taken = yield* Effect.all(made.map((member) => Effect.map(one.runtime.adopt(member), Option.getOrThrow)))
    for (const [rank, bytes] of (yield* Effect.all(taken.map(said))).entries()) assert.isAbove(bytes, first[rank]!)
    for (const one of running) {
      yield* one.stop
      yield* ended(one)
    }
    assert.deepStrictEqual(leftOf(made), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("reach nothing else: no other gang, no port of the host, no metadata of a cloud; and know who and where they are", () => Effect.gen(function*() {
    const one = yield* host("alone", { address: "127.0.0.1" })
    const port = yield* listening
    const [theirs, ours] = [gangOn([one, one]), gangOn([one, one])]
    // The other gang's rank 0 waits to be asked by a name and an address that ours has too.
    const other = yield* start(one, theirs[0]!, answering)
    const probing = perl(`
      $| = 1; print join(" ", map { "$_=$ENV{$_}" } qw(MILLRACE_RANK MILLRACE_MEMBERS MILLRACE_ADDRESSES RANK WORLD_SIZE MASTER_ADDR MASTER_PORT)), "\n";
      open H, "/etc/hostname"; print <H>; open D, "/proc/net/dev"; print join(" ", sort map { /^ *(\\w+):/ ? $1 : () } <D>), "\n";
      $SIG{ALRM} = sub { die "late\n" };
      for (["10.77.0.1", 7001], ["127.0.0.1", ${port}], ["169.254.169.254", 80], ["10.77.0.9", 7001], [split(/ /, "${outward()}"), ${port}]) {
        my ($to, $at) = @$_; next if $to eq "";
        my $r = eval { alarm 1; socket(S, PF_INET, SOCK_STREAM, 0); my $c = connect(S, sockaddr_in($at, inet_aton($to))); alarm 0; $c };
        alarm 0; print $r ? "reached $to\n" : "no $to\n"; close S;
      }
    `)
    const asked = yield* Effect.flatMap(start(one, ours[1]!, probing), ended)
    assert.strictEqual(said(asked), [
      "MILLRACE_RANK=1 MILLRACE_MEMBERS=2 MILLRACE_ADDRESSES=10.77.0.1,10.77.0.2 RANK=1 WORLD_SIZE=2 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500",
      "rank-1", "gang0 lo", "no 10.77.0.1", "no 127.0.0.1", "no 169.254.169.254", "no 10.77.0.9", `no ${outward()}`, ""
    ].join("\n"), said(asked, "stderr"))
    yield* other.stop
    yield* ended(other)
    assert.deepStrictEqual(leftOf([...theirs, ...ours]), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("go on when their agent dies, and find each other again when their switch did", () => Effect.gen(function*() {
    const agents = yield* Effect.all([Scope.make(), Scope.make()])
    const agent = (scope: Scope.Closeable, atClose: "leave" | "end") => Effect.all([host("here", { address: "127.0.0.1", atClose }), host("there", { address: "127.0.0.1", atClose })]).pipe(Scope.provide(scope))
    const [here, there] = yield* agent(agents[0]!, "leave")
    const made = gangOn([here, there])
    yield* start(here, made[0]!, counting)
    yield* start(there, made[1]!, counted("rank-0", 400))
    const heardBefore = yield* until(() => countedIn(made[1]!), (count) => count > 3)
    yield* Scope.close(agents[0]!, Exit.void)
    const heardAlone = yield* until(() => countedIn(made[1]!), (count) => count > heardBefore + 3)
    const pids = yield* Effect.all([here, there].map(({ kept }) => switchPid(kept.socket)))
    for (const pid of pids) process.kill(pid, "SIGKILL")
    yield* until(() => pids.filter((pid) => existsSync(`/proc/${pid}/cwd`)).length, (left) => left === 0)
    const [hereAgain, thereAgain] = yield* agent(agents[1]!, "end")
    assert.deepStrictEqual([hereAgain.at, thereAgain.at], [here.at, there.at], "placements that were made name these")
    const taken = yield* Effect.all([hereAgain.runtime.adopt(made[0]!), thereAgain.runtime.adopt(made[1]!)])
    yield* until(() => countedIn(made[1]!), (count) => count > heardAlone + 3)
    for (const running of taken.map(Option.getOrThrow)) {
      yield* running.stop
      yield* ended(running)
    }
    yield* Scope.close(agents[1]!, Exit.void)
    assert.deepStrictEqual(leftOf(made), [])
    yield* until(() => [here, there].filter(({ folder }) => existsSync(join(folder, switchFiles.socket))).length, (left) => left === 0)
  }), 60_000)

  it.live("whose port dies has ended, and nothing of it is left", () => Effect.gen(function*() {
    const one = yield* host("fallen")
    const made = gangOn([one, one])
    const running = yield* start(one, made[0]!, counting)
    const [port = 0] = processesOf(made[0]!).filter((pid) => read(`/proc/${pid}/cmdline`).includes("port-main.ts")).map(Number)
    process.kill(port, "SIGKILL")
    const end = yield* ended(running)
    assert.strictEqual(end.signal, "SIGKILL")
    assert.deepStrictEqual(leftOf(made), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("whose keeper dies are ended, with their ports and what these had begun", () => Effect.gen(function*() {
    const one = yield* host("orphaned")
    const made = gangOn([one, one])
    yield* start(one, made[0]!, counting)
    assert.isAbove(processesOf(made[0]!).length, 2)
    process.kill((JSON.parse(readFileSync(join(one.folder, "keeper", "keeper.json"), "utf8")) as { pid: number }).pid, "SIGKILL")
    yield* until(() => processesOf(made[0]!), (left) => left.length === 0)
    yield* one.runtime.clear(new Set())
    assert.deepStrictEqual(leftOf(made), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("begin only where the hosts of all can be reached, and say which cannot", () => Effect.gen(function*() {
    const [here, there] = yield* Effect.all([host("reaching", { address: "127.0.0.1" }), host("unreachable")])
    const nobody = yield* Effect.acquireRelease(
      Effect.callback<Datagrams>((resume) => { const socket: Datagrams = createSocket("udp4").bind(0, "127.0.0.1", () => resume(Effect.succeed(socket))) }),
      (socket) => Effect.sync(() => void socket.close())
    )
    const at = `127.0.0.1:${nobody.address().port}`
    const made = gangOn([here, { ...there, at }])
    const refused = yield* Effect.flip(start(here, made[0]!, perl("print 1")))
    assert.match(refused.detail, new RegExp(`do not answer from here: ${at}\\. Let UDP pass`, "u"))
    assert.deepStrictEqual(leftOf(made), [])
  }).pipe(Effect.scoped), 60_000)

  it.live("are refused where the placement and the host do not agree on a network, and leave nothing", () => Effect.gen(function*() {
    if (!("ground" in found)) return
    const one = yield* host("refusing")
    const context = yield* Layer.build(Layer.fresh(Keeper.layer(join(one.folder, "keeper"), { atClose: "end" })))
    const without = yield* Effect.provideService(sandboxRuntime(found.ground, Context.get(context, Keeper)), Blobs, blobs)
    const [made] = gangOn([one, one])
    const refused = (host: Pick<Host, "runtime">, placed: PlacementMade) => Effect.map(Effect.flip(start(host, placed, perl("print 1"))), ({ detail }) => detail)
    assert.match(yield* refused({ runtime: without }, made!), /this host can make none/u)
    const { network: _, ...place } = made!.gang!
    assert.match(yield* refused(one, { ...made!, gang: place, spec: { ...made!.spec, gang: { members: 2, topology: "host", onLoss: "end", network: "private" } } }), /the placement names none/u)
    assert.match(yield* refused(one, { ...made!, gang: { ...made!.gang!, network: { ...made!.gang!.network!, hosts: ["here"] } } }), /says where 1 of them are/u)
    assert.deepStrictEqual(leftOf([made!]), [])
  }).pipe(Effect.scoped), 60_000)
})
