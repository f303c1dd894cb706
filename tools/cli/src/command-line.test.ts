import { Option } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "vitest"
import { exitCodes } from "./exit-codes.ts"
import { harmless, table } from "./print.ts"
import { fieldsText } from "./render.ts"
import { bodyOf, type JobGiven } from "./request.ts"
import { storyText } from "./story.ts"
import { millraceHere } from "./testing/cell.ts"

/** No cell runs there: what gets past the command line ends in saying so. */
const folder = mkdtempSync(join(tmpdir(), "millrace-line-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const here = (...args: ReadonlyArray<string>) => millraceHere(folder, args)
const id = (prefix: string): string => `${prefix}_${"0".repeat(26)}`

describe("a command line", () => {
  for (const [args, fits] of [
    [["show"], id("job")], [["story"], id("job")], [["logs"], id("job")], [["output"], id("job")], [["cancel"], id("job")], [["why"], id("job")], [["artefacts", "ls"], id("job")],
    [["hosts", "show"], id("hst")], [["hosts", "dismiss"], id("hst")], [["grants", "show"], id("grt")], [["grants", "revoke"], id("grt")], [["tokens", "revoke"], `sha256:${"0".repeat(64)}`],
    [["tokens", "issue"], "user:ada"], [["grants", "issue"], "agent:reviewer"], [["snapshots", "show"], id("snp")], [["snapshots", "take"], id("job")], [["ask"], id("ask")], [["triggers", "show"], "nightly"],
    [["triggers", "rm"], "nightly"], [["triggers", "tell"], "push"], [["capacity", "why"], id("lse")], [["quotas", "lift"], "workspace/main"]
  ] as const) {
    it(`names something after ${args.join(" ")}, or is told what such a name looks like`, async () => {
      const nothing = await here(...args, "")
      assert.deepStrictEqual([nothing.code, nothing.stdout], [exitCodes.usage.code, ""], nothing.stderr)
      assert.notInclude(nothing.stderr, "RegExp")
      assert.strictEqual((await here(...args, fits)).code, exitCodes.unavailable.code)
    })
  }

  for (const args of [["ask"], ["grants", "revoke"], ["hosts", "dismiss"], ["snapshots", "expire"], ["budgets", "limit"], ["principals", "unbind"]]) {
    it(`is told what the id behind ${args.join(" ")} looks like, and no pattern`, async () => {
      const ran = await here(...args, "nope", ...(args[0] === "budgets" ? ["5"] : args[0] === "principals" ? ["owner"] : []))
      assert.strictEqual(ran.code, exitCodes.usage.code)
      assert.match(ran.stderr, /"nope" is not (?:the id of|a principal)/u)
    })
  }

  for (const [given, why] of [
    [["--cpu", "0"], "0 is too little"], [["--cpu", "0.0001"], "0.0001 is too little"], [["--memory", "0"], "no program runs without memory"], [["--time-limit", "0s"], "nothing runs for no time"],
    [["--attempts", "0"], "0 is too few"], [["--name", "A b"], "is not a name"], [["--cwd", "work"], "is not a path from / on"], [["--env", "A B=c"], "\"A B\" is no name of a variable"]
  ] as const) {
    it(`asks for no job with ${given.join(" ")}`, async () => {
      const ran = await here("submit", "--url", "http://127.0.0.1:1", "--token", "mill_0", ...given, "--", "true")
      assert.strictEqual(ran.code, exitCodes.usage.code, ran.stderr)
      assert.include(ran.stderr, why)
    })
  }

  it("brings a token, and no other file, to an address of the web", async () => {
    const other = join(folder, "other.txt")
    writeFileSync(other, "root:x:0:0\nsomebody:x:1:1\n")
    const [file, url] = [await here("ls", "--url", "http://127.0.0.1:1", "--token", other), await here("ls", "--url", "ftp://here", "--token", "mill_0")]
    assert.deepStrictEqual([file.code, url.code], [exitCodes.settings.code, exitCodes.settings.code])
    assert.include(file.stderr, "holds no token")
    assert.notInclude(file.stderr, "somebody")
    assert.include(url.stderr, "is no address")
  })
})

describe("a job that is described", () => {
  const none = Option.none()
  const given = {
    name: none, grant: none, runtime: none, trust: none, cpu: 1, memory: 1, disk: 0, gpus: { gpus: 0 }, gpu: none, region: [], provider: [], residency: [], isolation: [], rather: [], spot: none, priority: none,
    attempts: 1, timeLimit: 1, queueLimit: none, startLimit: none, idleLimit: none, deadline: none, work: none, onSilence: none, tasks: none, parallel: none, failures: none, gang: none, near: "fabric", onLoss: "restart",
    network: none, after: [], from: none, snapshot: false, egress: [], cwd: none, env: {}, label: {}
  } as JobGiven

  it("runs in a sandbox where it is about files that a plain process has not, unless it says how it runs", () => {
    assert.notProperty(bodyOf(given, ["true"]), "runtime")
    for (const about of [{ from: Option.some(id("snp")) }, { snapshot: true }]) {
      assert.propertyVal(bodyOf({ ...given, ...about }, ["true"]), "runtime", "sandbox")
      assert.propertyVal(bodyOf({ ...given, ...about, runtime: Option.some("noop") }, ["true"]), "runtime", "noop")
    }
  })
})

describe("what others have named or told", () => {
  const evil = "a\u001b[2Jb\u202ec\r\u009bd"

  it("cannot steer the terminal, and stays what it was in JSON", () => {
    assert.strictEqual(harmless(evil), "a\\u001b[2Jb\\u202ec\\u000d\\u009bd")
    assert.strictEqual(JSON.parse(harmless(JSON.stringify({ evil }))).evil, evil)
    assert.strictEqual(harmless("Größe 12 µs\tok\nnext"), "Größe 12 µs\tok\nnext")
  })

  it("cannot steer it by way of what was typed either", async () => {
    for (const args of [["show", evil], [evil], ["ls", `--${evil}`], ["ls", "--state", evil], ["triggers", "show", evil]]) assert.notMatch((await here(...args)).stderr, /[\u001b\u202e\u009b]/u, args.join(" "))
  })

  it("begins no line of its own", () => {
    assert.strictEqual(table(["A", "B"], [["x\ny", "z"]]), "A     B\nx\\ny  z")
    assert.strictEqual(fieldsText([["a", "x\ny"]]), "a             x\\ny")
    assert.strictEqual(storyText()({ atMs: 0, name: "PlacementWithdrawn", text: "x\ny" } as never), "+0 ms       PlacementWithdrawn x\\ny")
  })
})
