import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { defectOf, onPath, repositoryRoot } from "./index.mjs"
import { packageArchive } from "./package-archive.ts"
import type { PackageArchive } from "./package-archive.ts"

const folder = mkdtempSync(join(tmpdir(), "millrace-bootstrap-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Run {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Starts the real bootstrap with a home of its own and only the environment given. */
const start = (home: string, env: Record<string, string>) => {
  const child = spawn(process.execPath, [join(repositoryRoot(), "infra/bootstrap/src/main.mjs"), "--for", "test"], {
    cwd: folder,
    env: { MILLRACE_HOME: join(folder, home), HOME: folder, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  let out = ""
  let err = ""
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text))
  child.stderr.setEncoding("utf8").on("data", (text) => (err += text))
  const ended = new Promise<Run>((settle) => child.on("close", (code) => settle({ code, out, err })))
  return { child, ended }
}

const program = (name: string, prints: string) => {
  const path = join(folder, name)
  writeFileSync(path, `#!/bin/sh\necho "${prints}"\n`, { mode: 0o755 })
  return path
}

const manifestOf = (home: string) => JSON.parse(readFileSync(join(folder, home, "tools.json"), "utf8"))

describe("the bootstrap, with a nats-server named by hand", () => {
  it("writes a valid manifest, and a second run is one line", async () => {
    const env = { MILLRACE_NATS_SERVER: program("nats-named", "nats-server: v2.14.0"), PATH: "/nowhere" }
    const first = await start("named", env).ended
    assert.strictEqual(first.code, 0, first.err)
    assert.isUndefined(defectOf(manifestOf("named")))
    assert.strictEqual(manifestOf("named").natsServer.version, "2.14.0")
    const second = await start("named", env).ended
    assert.match(second.out, /^Ready: .*nats-server 2\.14\.0.*\n$/)
  })

  it("refuses one that loses updates, in a sentence that names the measurement", async () => {
    const { code, err } = await start("lossy", { MILLRACE_NATS_SERVER: program("nats-lossy", "nats-server: v2.9.10"), PATH: "/nowhere" }).ended
    assert.strictEqual(code, 1)
    assert.include(err, "473 of 24,625")
    assert.isFalse(existsSync(join(folder, "lossy", "tools.json")))
  })

  it("looks again when a file of the manifest has changed", async () => {
    const env = { MILLRACE_NATS_SERVER: program("nats-changing", "nats-server: v2.14.0"), PATH: "/nowhere" }
    assert.strictEqual((await start("changing", env).ended).code, 0)
    program("nats-changing", "nats-server: v2.14.11")
    assert.include((await start("changing", env).ended).out, "nats-server 2.14.11")
  })

  it("without any way to a nats-server, ends with one sentence and the command to type", async () => {
    const { code, err } = await start("nothing", { PATH: "/nowhere", MILLRACE_RELEASES: "http://127.0.0.1:9" }).ended
    assert.strictEqual(code, 1)
    assert.match(err, /No nats-server 2\.12\.3 or newer could be found or fetched .* MILLRACE_NATS_SERVER|brew install/)
  })
})

// Where the machine has no apt, that way does not exist; the other ways are tested above and beside.
if (onPath("apt-get") !== undefined && onPath("dpkg-deb") !== undefined) {
  describe("the bootstrap, fetching packages", () => {
    let archive: PackageArchive
    const env = () => ({ PATH: archive.path, MILLRACE_APT_ETC: archive.etcApt })
    beforeAll(async () => {
      archive = await packageArchive("2.15.9")
    })
    afterAll(() => archive.close())

    it("killed in the middle of a download, leaves nothing that passes for done, and the next run ends well", async () => {
      const half = archive.stallNextDownload()
      const killed = start("killed", env())
      await half
      const fetching = Number(readFileSync(join(folder, "killed", "bootstrap.child"), "utf8").split(" ")[0])
      killed.child.kill("SIGKILL")
      await killed.ended
      assert.isFalse(existsSync(join(folder, "killed", "tools.json")))
      assert.isFalse(existsSync(join(folder, "killed", "bin", "nats-server")))

      const next = await start("killed", env()).ended
      assert.strictEqual(next.code, 0, next.err)
      assert.isUndefined(defectOf(manifestOf("killed")))
      assert.strictEqual(manifestOf("killed").natsServer.version, "2.15.9")
      assert.isFalse(isRunning(fetching), "the download of the killed run does not go on beside ours")
      assert.deepStrictEqual(readdirSync(join(folder, "killed", "packages")), ["nats-server_2.15.9-1_all"])
    })

    it("missing isolation is told with its remedy, and stops nothing", () => {
      for (const name of ["runsc", "bubblewrap"]) assert.isNotEmpty(manifestOf("killed")[name].remedy)
    })

    it("the second run asks the network for nothing", async () => {
      const before = archive.requests()
      const closed = "http://127.0.0.1:9"
      const { code, out } = await start("killed", { ...env(), http_proxy: closed, https_proxy: closed, npm_config_registry: closed }).ended
      assert.strictEqual(code, 0)
      assert.match(out, /^Ready: .*\n$/)
      assert.strictEqual(archive.requests(), before)
    })

    it("two at once do the work once", async () => {
      const before = archive.downloads()
      const runs = await Promise.all([start("twice", env()).ended, start("twice", env()).ended])
      assert.deepStrictEqual(runs.map(({ code }) => code), [0, 0], runs.map(({ err }) => err).join())
      assert.strictEqual(archive.downloads() - before, 1)
      assert.isUndefined(defectOf(manifestOf("twice")))
    })

    it("a distribution whose newest nats-server is too old is not taken", async () => {
      const old = await packageArchive("2.10.0")
      try {
        const { code, err } = await start("old", { PATH: old.path, MILLRACE_APT_ETC: old.etcApt, MILLRACE_RELEASES: "http://127.0.0.1:9" }).ended
        assert.strictEqual(code, 1)
        assert.include(err, "nats-server 2.10.0 is older than 2.12.3")
      } finally {
        await old.close()
      }
    })
  })
}

/** A zombie does not run: where nobody collects ended processes, it keeps its number. */
const isRunning = (pid: number) => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ")
  } catch {
    return false
  }
}
