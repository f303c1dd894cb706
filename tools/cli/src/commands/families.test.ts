import type { Cut } from "@millrace/schemas"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, expect, it, vi } from "vitest"
import { exitCodes } from "../exit-codes.ts"
import { linesOf, millraceHere, type Ran, shapeOf, startTestCell, type TestCell } from "../testing/cell.ts"

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

/** Fields whose own fields are names of things, which differ from machine to machine. */
const maps: Readonly<Record<string, string>> = { cut: "a cut", view: "a cut", labels: "by name", counts: "by state" }

interface Answered {
  readonly askId: string
  readonly answer: { readonly name: string; readonly body: Readonly<Record<string, string>> }
  readonly secret?: string
}

describe("the command's families, against a running cell", () => {
  let cell: TestCell
  const shapes: Record<string, unknown> = {}
  const here = (...args: ReadonlyArray<string>): Promise<Ran> => millraceHere(cell.folder, args)
  const as = (token: string, ...args: ReadonlyArray<string>): Promise<Ran> => millraceHere(cell.folder, args, { MILLRACE_TOKEN: token })
  /** What a command prints for programs; its shape is kept to be held against the golden one. */
  const json = async <A>(...args: ReadonlyArray<string>): Promise<A> => {
    const words = args.findIndex((word) => word === "--")
    const ran = await here(...(words < 0 ? [...args, "-o", "json"] : [...args.slice(0, words), "-o", "json", ...args.slice(words)]))
    assert.strictEqual(ran.code, 0, `${args.join(" ")}: ${ran.stderr}`)
    return JSON.parse(ran.stdout) as A
  }
  const shaped = async <A>(name: string, ...args: ReadonlyArray<string>): Promise<A> => {
    const value = await json<A>(...args)
    shapes[name] = JSON.parse(JSON.stringify(shapeOf(value), (key, one: unknown) => maps[key] ?? one))
    return value
  }
  const stderrJson = ({ stderr }: Ran) => (JSON.parse(linesOf(stderr).at(-1)!) as { error: { code: string; missing?: Record<string, string> } }).error

  beforeAll(async () => void (cell = await startTestCell()))
  afterAll(() => cell?.stop())

  it("run brings files, shows output as it comes, fetches artefacts, and says what it cost", async () => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-run-"))
    try {
      writeFileSync(join(folder, "in.txt"), "one\ntwo\n")
      writeFileSync(join(folder, "work.sh"), "wc -l < in.txt\necho oh dear >&2\necho kept > \"$MILLRACE_ARTEFACTS/out.txt\"\n")
      const ran = await here(
        "run", "--file", join(folder, "in.txt"), "--file", `${join(folder, "work.sh")}:/work/todo.sh`, "--artefacts", join(folder, "out"), "--", "/bin/sh", "todo.sh"
      )
      assert.deepStrictEqual([ran.code, ran.stdout.trim()], [0, "2"], ran.stderr)
      assert.strictEqual(readFileSync(join(folder, "out/out.txt"), "utf8"), "kept\n")
      assert.isFalse(existsSync(join(folder, "out/out.txt.part")))
      assert.match(ran.stderr, /^Submitted job_/u)
      assert.match(ran.stderr, /JobSettled +succeeded/u)
      assert.match(ran.stderr, /^oh dear$/mu)
      assert.match(ran.stderr, /The job succeeded; it cost \$0\.\d+\.\n$/u)
      const [, jobId] = /^Submitted (job_\w+) /u.exec(ran.stderr)!
      const { artefacts } = await shaped<{ artefacts: ReadonlyArray<{ name: string }> }>("artefacts ls", "artefacts", "ls", jobId!)
      assert.deepStrictEqual(artefacts.map(({ name }) => name), ["out.txt"])
      const got = await shaped<{ files: ReadonlyArray<string> }>("artefacts get", "artefacts", "get", jobId!, join(folder, "again"))
      assert.deepStrictEqual(got.files, [join(folder, "again/out.txt")])
      assert.strictEqual((await here("output", jobId!, "out.txt")).stdout, "kept\n")
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it("run for programs is a line each, and its exit code tells how the job ended", async () => {
    const ran = await here("run", "-o", "json", "--", "sh", "-c", "echo hi; exit 4")
    assert.strictEqual(ran.code, exitCodes.failed.code, ran.stderr)
    const lines = linesOf(ran.stdout).map((line) => JSON.parse(line) as { kind: string; line?: { name: string }; text?: string; job?: { state: string; exitCode: number } })
    assert.strictEqual(lines.filter(({ kind }) => kind === "output").map(({ text }) => text).join(""), "hi\n")
    assert.includeMembers(lines.flatMap(({ line }) => line?.name ?? []), ["JobSubmitted", "AttemptStarted", "JobSettled"])
    assert.deepInclude(lines.at(-1)!.job, { state: "failed", exitCode: 4 })
    assert.strictEqual(lines.at(-1)!.kind, "job")
  })

  it("what a program brings along must be there, and says so before anything is submitted", async () => {
    const ran = await here("run", "--file", "/nowhere/in.txt", "-o", "json", "--", "true")
    assert.deepStrictEqual([ran.code, ran.stdout, stderrJson(ran).code], [exitCodes.usage.code, "", "file_unreadable"])
    const parallel = await here("submit", "--parallel", "2", "-o", "json", "--", "true")
    assert.deepStrictEqual([parallel.code, stderrJson(parallel).code], [exitCodes.usage.code, "request_malformed"])
  })

  it("an array shows its tasks, each with its own output and story", async () => {
    const ran = await here("run", "--tasks", "3", "--parallel", "2", "--name", "parts", "--", "sh", "-c", "echo part $MILLRACE_TASK; exit $((MILLRACE_TASK % 2))")
    assert.strictEqual(ran.code, exitCodes.failed.code, ran.stderr)
    const { jobs } = await json<{ jobs: ReadonlyArray<{ jobId: string; tasks: number }> }>("ls", "--name", "parts")
    assert.deepStrictEqual(jobs.map(({ tasks }) => tasks), [3])
    const { jobId } = jobs[0]!
    const shown = await shaped<{ counts: Record<string, number>; tasks: ReadonlyArray<{ task: number; state: string }> }>("show --tasks", "show", jobId, "--tasks")
    assert.deepStrictEqual(shown.tasks.map(({ state }) => state), ["succeeded", "failed", "succeeded"])
    assert.strictEqual((await here("logs", jobId, "--task", "2")).stdout, "part 2\n")
    const story = await here("story", jobId, "--task", "1")
    assert.match(story.stdout, /TaskSettled +\[1\] task 1 failed/u)
    assert.notMatch(story.stdout, /\[0\]|\[2\]/u)
  })

  it("logs --follow shows what is said while it is said, and goes on behind what was seen", async () => {
    const { jobId } = await json<{ jobId: string }>("submit", "--", "sh", "-c", "echo one; sleep 1; echo two")
    const followed = await here("logs", jobId, "--follow", "-o", "json")
    assert.strictEqual(followed.code, 0, followed.stderr)
    const said = linesOf(followed.stdout).map((line) => JSON.parse(line) as { kind: string; text?: string; id?: string; outcome?: string })
    assert.strictEqual(said.map(({ text }) => text ?? "").join(""), "one\ntwo\n")
    assert.deepInclude(said.at(-1), { kind: "end", outcome: "succeeded" })
    assert.strictEqual((await here("logs", jobId, "--from", "1:4")).stdout, "two\n")
    shapes["logs"] = shapeOf(said.find(({ kind }) => kind === "output"))
  })

  it("why says what a job waits for; cancelled before it was placed, it ends as such", async () => {
    const { jobId } = await json<{ jobId: string }>("submit", "--region", "nowhere-1", "--", "true")
    let text = await here("why", jobId)
    while (!text.stdout.startsWith("It waits")) text = await here("why", jobId)
    assert.match(text.stdout, /^It waits: no host offers .*region nowhere-1.*Nearest to it:.*never.*region nowhere-1/su)
    await shaped("why", "why", jobId)
    assert.strictEqual((await shaped<{ verdict: string }>("plan", "plan", "--cpu", "0.1", "--", "true")).verdict, "now")
    assert.strictEqual((await here("plan", "--region", "nowhere-1", "--", "true")).code, 22)
    await here("cancel", jobId)
    assert.strictEqual((await here("story", jobId, "--follow")).code, 0)
    const { job } = await json<{ job: { state: string } }>("show", jobId)
    assert.strictEqual(job.state, "cancelled")
  })

  it("an agent does what its grant gives, is refused the rest by name, and nothing once it is revoked", async () => {
    const issued = await shaped<Answered>("grants issue", "grants", "issue", "agent:reviewer", "--action", "job.*", "--spend", "0.10", "--for", "8h", "--no-egress", "--cpu", "1", "--depth", "1", "--action", "grant.delegate")
    const grantId = issued.answer.body["grantId"]!
    const token = (await here("tokens", "issue", "agent:reviewer", "--grant", grantId, "--for", "1h")).stdout.trim()
    assert.match(token, /^mill_[\w-]{43}$/u)
    assert.strictEqual((await as(token, "ls")).code, 0)
    const [cores, egress] = [await as(token, "submit", "-o", "json", "--cpu", "2", "--", "true"), await as(token, "submit", "-o", "json", "--egress", "example.com:443", "--", "true")]
    assert.deepStrictEqual([cores.code, egress.code], [exitCodes.forbidden.code, exitCodes.forbidden.code])
    assert.deepInclude(stderrJson(cores).missing, { limit: "cpuMilliMax", needs: "2000", has: "1000", narrowedBy: grantId })
    assert.strictEqual(stderrJson(egress).missing!["limit"], "egress")

    const audit = () => shaped<{ decisions: ReadonlyArray<{ principal: string; verdict: string }> }>("decisions", "decisions", "--verdict", "deny")
    let denied = await audit()
    while (denied.decisions.length < 2) denied = await audit()
    assert.isTrue(denied.decisions.every(({ principal, verdict }) => principal === "agent:reviewer" && verdict === "deny"))
    const delegated = await as(token, "grants", "delegate", grantId, "agent:helper", "--action", "job.read", "--spend", "0.01", "--cpu", "1", "--no-egress", "--for", "10m")
    assert.match(delegated.stdout, /^grt_\w{26}\n$/u, delegated.stderr)
    const children = () => shaped<{ children: ReadonlyArray<string>; holds: boolean }>("grants show", "grants", "show", grantId)
    let shown = await children()
    while (shown.children.length === 0) shown = await children()
    assert.deepStrictEqual([shown.children, shown.holds], [[delegated.stdout.trim()], true])

    await here("grants", "suspend", grantId)
    assert.strictEqual((await as(token, "submit", "--", "true")).code, exitCodes.forbidden.code)
    await here("grants", "resume", grantId)
    assert.strictEqual((await here("grants", "revoke", grantId, "--cause", "done")).code, 0)
    assert.strictEqual((await as(token, "ls")).code, exitCodes.forbidden.code)
    const revoked = () => shaped<{ grants: ReadonlyArray<{ grantId: string }> }>("grants", "grants", "--state", "revoked")
    let { grants } = await revoked()
    while (grants.length === 0) grants = (await revoked()).grants
    assert.deepStrictEqual(grants.map((grant) => grant.grantId), [grantId])
    await shaped("ask", "ask", issued.askId)
  })

  it("a token is shown once, and its key shows it to nobody again", async () => {
    const issued = await shaped<Answered>("tokens issue", "tokens", "issue", "user:ada", "--key", "for-ada")
    assert.match(issued.secret!, /^mill_/u)
    const again = await here("tokens", "issue", "user:ada", "--key", "for-ada", "-o", "json")
    assert.notStrictEqual(again.code, 0)
    assert.notInclude(again.stdout + again.stderr, issued.secret!)
    const issuedAt = `ACCESS=${(issued as unknown as { cut: Cut }).cut["ACCESS"]}`
    const listed = await shaped<{ principals: ReadonlyArray<{ principal: string; tokens: ReadonlyArray<{ digest: string }> }> }>("tokens ls", "tokens", "--after", issuedAt)
    const digest = listed.principals.find(({ principal }) => principal === "user:ada")!.tokens[0]!.digest
    await here("principals", "bind", "user:ada", "viewer")
    assert.strictEqual((await as(issued.secret!, "ls")).code, 0)
    assert.strictEqual((await here("tokens", "revoke", digest)).code, 0)
    assert.strictEqual((await as(issued.secret!, "ls")).code, exitCodes.forbidden.code)
    assert.include((await here("principals")).stdout, "user:ada")
  })

  it("hosts are listed with what is free, and one is enrolled by a key that is shown once", async () => {
    const { hosts } = await shaped<{ hosts: ReadonlyArray<{ hostId: string; state: string }> }>("hosts", "hosts")
    assert.deepStrictEqual(hosts.map(({ state }) => state), ["joined"])
    assert.match((await here("hosts", "show", hosts[0]!.hostId)).stdout, /^hostId +hst_.*free\.cpuMilli/su)
    await shaped("hosts show", "hosts", "show", hosts[0]!.hostId)
    assert.match((await here("hosts", "enrol", "--for", "1m")).stdout, /^[\w-]{43}\n$/u)
    assert.strictEqual((await here("hosts", "show", `hst_${"0".repeat(26)}`)).code, exitCodes.unknown.code)
  })

  it("money is told exactly, by whatever one asks, as it is and as it was", async () => {
    const before = await shaped<{ total: { amountPico: string; attempts: number } }>("usage", "usage", "--by", "day")
    assert.isAbove(Number(before.total.amountPico), 0)
    const text = await here("usage", "--by", "phase")
    assert.match(text.stdout, /^PHASE +ATTEMPTS.*\nall .*\$0\.\d+ /su)
    assert.strictEqual((await json<{ total: { amountPico: string } }>("usage", "--at", "2026-01-01T00:00:00Z")).total.amountPico, "0")
    const { accounts } = await shaped<{ accounts: ReadonlyArray<{ account: string; limitPico: string }> }>("budgets", "budgets")
    const opened = await shaped<Answered>("budgets open", "budgets", "open", "--limit", "0.50", "--parent", accounts[0]!.account)
    const account = opened.answer.body["account"]!
    const changed = await json<{ cut: Cut }>("budgets", "limit", account, "0.75")
    const now = await json<{ accounts: ReadonlyArray<{ account: string; limitPico: string }> }>("budgets", "--after", `METERING=${changed.cut["METERING"]}`)
    assert.strictEqual(now.accounts.find((one) => one.account === account)!.limitPico, "750000000000")
    await shaped("prices", "prices")
    await shaped("capacity", "capacity")
    assert.strictEqual((await here("capacity", "leaks")).stdout, "Nothing leaks: every machine that costs money is accounted for.\n")
    assert.match((await here("capacity", "reap")).stdout, /^given up +none\nbeing ended +none\n/u)
    assert.strictEqual(stderrJson(await here("capacity", "reap", `lse_${"A".repeat(26)}`, "-o", "json")).code, "lease_unknown")
    const { secret } = await json<{ secret?: string }>("tokens", "issue", "user:max", "--key", "for-max")
    await here("principals", "bind", "user:max", "manager")
    assert.strictEqual((await as(secret!, "capacity", "leaks")).code, 0)
    assert.strictEqual((await as(secret!, "capacity", "reap")).code, exitCodes.forbidden.code, "machines are the cell's: whoever manages a workspace may not end them")
    assert.strictEqual(stderrJson(await here("capacity", "why", "nothing-of-ours", "-o", "json")).code, "lease_unknown")
    assert.isNull((await json<{ plan: unknown }>("capacity", "plan")).plan)
    assert.strictEqual(stderrJson(await here("providers", "check", "none-such", "-o", "json")).code, "provider_unknown")
    const { checks } = await json<{ checks: ReadonlyArray<{ allowed: boolean }> }>("providers", "check")
    assert.isTrue(checks.every(({ allowed }) => allowed))
    assert.isArray((await json<{ bills: ReadonlyArray<unknown> }>("capacity", "bill")).bills)
    assert.strictEqual(stderrJson(await here("capacity", "bill", "--file", "/none", "-o", "json")).code, "provider_missing")
  })

  it("who is due how much is said, told with what it holds and could have, and lifted; a job that is over has no priority", async () => {
    const said = await shaped<Answered & { readonly cut: Cut }>("quotas set", "quotas", "set", "workspace/other", "--in", "cohort/all", "--cores", "64,borrow=8", "--gpu", "H100=8,lend=4", "--priority-max", "high")
    assert.strictEqual(said.answer.body["node"], "workspace/other")
    const { quotas } = await shaped<{ quotas: ReadonlyArray<{ node: string; limits: ReadonlyArray<object> }> }>("quotas ls", "quotas", "ls", "--after", `SCHEDULER=${said.cut["SCHEDULER"]}`)
    assert.deepStrictEqual(quotas.map(({ limits, node }) => [node, limits]), [["workspace/other", [
      { dimension: "cpuMilli", nominal: 64_000, borrowingMax: 8_000, held: 0, borrowed: 0, available: 64_000 },
      { dimension: "gpuMilli/H100", nominal: 8_000, lendingMax: 4_000, held: 0, borrowed: 0, available: 8_000 }
    ]]])
    assert.match((await here("quotas")).stdout, /^WHO .*\nworkspace\/other +cohort\/all +1 +cores +64 +0 +0 +64 +8 +all +-, to others 80\n +H100 +8 /su)
    assert.match((await here("quotas", "set", "workspace/other", "--in", "cohort/all", "--cores", "64,borrow=8", "--gpu", "H100=8,lend=4", "--priority-max", "high")).stderr, /It was so already/u)
    assert.match((await here("quotas", "set", "workspace/other", "--cores", "many")).stderr, /is not an amount/u)
    const lifted = await json<Answered & { readonly cut: Cut }>("quotas", "lift", "workspace/other")
    assert.deepStrictEqual((await json<{ quotas: ReadonlyArray<unknown> }>("quotas", "--after", `SCHEDULER=${lifted.cut["SCHEDULER"]}`)).quotas, [])
    const { jobs } = await json<{ jobs: ReadonlyArray<{ jobId: string }> }>("ls", "--limit", "1")
    assert.include((await here("priority", jobs[0]!.jobId, "high")).stderr, "the job is over")
  })

  it("a gang's members run together, and each is told its rank, their number and where they are found", async () => {
    const gang = await here("run", "--name", "together", "--gang", "2", "--near", "host", "--cpu", "0.1", "--memory", "32MiB", "--", "/bin/sh", "-c", "echo member $MILLRACE_RANK of $MILLRACE_MEMBERS at $MILLRACE_ADDRESSES")
    assert.strictEqual(gang.code, 0, gang.stderr)
    const { jobs } = await json<{ jobs: ReadonlyArray<{ jobId: string; tasks: number }> }>("ls", "--name", "together")
    assert.deepStrictEqual(jobs.map(({ tasks }) => tasks), [2])
    for (const rank of ["0", "1"]) assert.match((await here("logs", jobs[0]!.jobId, "--task", rank)).stdout, new RegExp(`^member ${rank} of 2 at (\\S+),\\1\n$`, "u"))
    assert.match((await here("run", "--gang", "2", "--near", "zone", "--queue-limit", "1s", "--", "/bin/true")).stderr, /no place was found/u)
    assert.match((await here("run", "--gang", "2", "--tasks", "2", "--", "/bin/true")).stderr, /gang/u)
  })

  it("a gang's members in sandboxes speak to each other in a network of their own, or are told that no host makes one", async () => {
    const offered = await vi.waitFor(async () => {
      const { hosts } = await json<{ hosts: ReadonlyArray<{ hostId: string }> }>("hosts")
      const { host } = await json<{ host: { capabilities: { labels: Readonly<Record<string, string>> } | null } }>("hosts", "show", hosts[0]!.hostId)
      return host.capabilities!.labels["gang-network"] ?? "none"
    }, { timeout: 30_000, interval: 500 })
    // Rank 0 answers the first that speaks to it, and the others speak to it under the name that torch gives it.
    const meeting = `use Socket; $| = 1; socket(S, PF_INET, SOCK_STREAM, 0);
      if ($ENV{RANK} == 0) { setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1); bind(S, sockaddr_in($ENV{MASTER_PORT}, INADDR_ANY)); listen(S, 1); accept(C, S); print "heard ", scalar <C>; exit }
      for (1..200) { if (connect(S, sockaddr_in($ENV{MASTER_PORT}, inet_aton($ENV{MASTER_ADDR})))) { syswrite S, "rank $ENV{RANK} of $ENV{WORLD_SIZE}\\n"; print "said\\n"; exit } select(undef, undef, undef, 0.1) }
      exit 1`
    const asked = ["run", "--name", "meeting", "--gang", "2", "--near", "host", "--runtime", "sandbox", "--cpu", "0.1", "--memory", "64MiB", "--queue-limit", "20s", "--", "/usr/bin/perl", "-e", meeting]
    const gang = await here(...asked)
    if (offered.startsWith("none")) return assert.notStrictEqual(gang.code, 0)
    assert.strictEqual(gang.code, 0, gang.stderr)
    const { jobs } = await json<{ jobs: ReadonlyArray<{ jobId: string }> }>("ls", "--name", "meeting")
    assert.deepStrictEqual(await Promise.all(["0", "1"].map(async (rank) => (await here("logs", jobs[0]!.jobId, "--task", rank)).stdout)), ["heard rank 1 of 2\n", "said\n"])
  })

  it("the past is shown as it was", async () => {
    const { jobs } = await json<{ jobs: ReadonlyArray<{ jobId: string; state: string }> }>("ls", "--limit", "2")
    const earlier = await json<{ jobs: ReadonlyArray<unknown> }>("ls", "--at", "2026-01-01T00:00:00Z")
    assert.deepStrictEqual([jobs.length, earlier.jobs.length], [2, 0])
    const { lines } = await json<{ lines: ReadonlyArray<{ stream: string; sequence: number }> }>("story", jobs[0]!.jobId)
    const then = await json<{ job: { state: string } }>("show", jobs[0]!.jobId, "--at", `${lines[0]!.stream}=${lines[0]!.sequence}`)
    assert.strictEqual(then.job.state, "queued")
    for (const family of ["hosts", "grants"]) assert.strictEqual(linesOf((await here(family, "--at", "2026-01-01T00:00:00Z")).stdout).length, 1, family)
    const pages = await json<{ jobs: ReadonlyArray<unknown> }>("ls", "--limit", "1", "--all")
    assert.isAbove(pages.jobs.length, 2)
  })

  it("triggers start jobs: defined by flags, told by an event, seen, and removed", async () => {
    await shaped("triggers define", "triggers", "define", "build", "--on-event", "push", "--where", "data.ref=refs/heads/main", "--", "sh", "-c", "echo built")
    await here("triggers", "define", "nightly", "--cron", "0 2 * * *", "--zone", "Europe/Berlin", "--", "true")
    const told = await shaped<{ events: ReadonlyArray<{ repeated: boolean }> }>("triggers tell", "triggers", "tell", "push", "--data", "{\"ref\":\"refs/heads/main\"}", "--id", "42")
    assert.isFalse(told.events[0]!.repeated)
    assert.isTrue((await json<{ events: ReadonlyArray<{ repeated: boolean }> }>("triggers", "tell", "push", "--data", "{\"ref\":\"refs/heads/main\"}", "--id", "42")).events[0]!.repeated)
    let jobs: ReadonlyArray<unknown> = []
    while (jobs.length === 0) jobs = (await json<{ jobs: ReadonlyArray<unknown> }>("ls", "--name", "build")).jobs
    assert.strictEqual(jobs.length, 1)
    const { triggers } = await shaped<{ triggers: ReadonlyArray<{ name: string; nextAtMs?: number }> }>("triggers", "triggers")
    assert.deepStrictEqual(triggers.map(({ name, nextAtMs }) => [name, nextAtMs !== undefined]), [["build", false], ["nightly", true]])
    assert.match((await here("triggers", "show", "build")).stdout, /\/millrace\/cli 42/u)
    const hook = await shaped<{ secret: string; path: string }>("triggers hook", "triggers", "hook", "forge")
    assert.match(hook.secret, /^whsec_/u)
    assert.deepStrictEqual([(await here("triggers", "hook", "forge", "--close")).code, (await here("triggers", "rm", "nightly")).code], [0, 0])
    const [gone, both] = [await here("triggers", "rm", "nightly"), await here("triggers", "define", "two", "--cron", "* * * * *", "--on-event", "x", "--", "true")]
    assert.deepStrictEqual([gone.code, both.code], [exitCodes.unknown.code, exitCodes.usage.code])
  })

  it("what -o json prints has the documented shapes", () => expect(JSON.stringify(shapes, null, 2)).toMatchFileSnapshot("../../golden/json-families.json"))

  it("nothing is killed where no pretend cloud runs", async () => {
    const killed = await here("chaos", "kill-host", "i-1", "-o", "json")
    assert.deepStrictEqual([killed.code, stderrJson(killed).code], [exitCodes.unavailable.code, "sky_absent"])
  })
})
