import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { takeRelease } from "./index.mjs"

const folder = mkdtempSync(join(tmpdir(), "millrace-release-"))
const machine = `${process.platform}-${process.arch}`
const name = `nats-server-v9.9.9-${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`
const server = createServer((request, response) => {
  const file = join(folder, "served", request.url?.split("/").at(-1) ?? "")
  if (!existsSync(file)) return response.writeHead(404).end()
  response.end(readFileSync(file))
})
let base = ""

beforeAll(async () => {
  mkdirSync(join(folder, name), { recursive: true })
  mkdirSync(join(folder, "served"))
  writeFileSync(join(folder, name, "nats-server"), "#!/bin/sh\necho nats-server: v9.9.9\n", { mode: 0o755 })
  execFileSync("tar", ["-czf", join(folder, "served", `${name}.tar.gz`), "-C", folder, name])
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

const take = (home: string, sha256: string, version = "9.9.9") =>
  takeRelease({ version, base, sha256: { [machine]: sha256 } }, { home, says: () => {}, onStart: () => {} })

describe("the vendor's release", () => {
  it("is unpacked when it is the file it should be", async () => {
    const sha256 = createHash("sha256").update(readFileSync(join(folder, "served", `${name}.tar.gz`))).digest("hex")
    const path = await take(join(folder, "good"), sha256)
    assert.include(execFileSync(path, { encoding: "utf8" }), "v9.9.9")
  })

  it("is thrown away unread when it is another file", async () => {
    const home = join(folder, "bad")
    const refusal = await take(home, "0".repeat(64)).catch((error: Error) => error.message)
    assert.include(refusal, "is not the file it should be")
    assert.deepStrictEqual(readdirSync(join(home, "packages")), [])
  })

  it("is told of in a sentence when it is not to be had, or none is pinned for this machine", async () => {
    assert.include(await take(join(folder, "gone"), "0".repeat(64), "9.9.8").catch((error: Error) => error.message), "404")
    const unpinned = takeRelease({ version: "9.9.9", base, sha256: {} }, { home: folder, says: () => {}, onStart: () => {} })
    assert.include(await unpinned.catch((error: Error) => error.message), "no checksum")
  })
})
