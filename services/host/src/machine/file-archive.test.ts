import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { archived, ArchiveTooLarge, ArchiveUnsafe, unpacked } from "./file-archive.ts"

const home = mkdtempSync(join(tmpdir(), "millrace-archive-"))
afterAll(() => rmSync(home, { recursive: true, force: true }))

let numbered = 0
const fresh = (): string => {
  const folder = join(home, String(numbered += 1))
  mkdirSync(folder)
  return folder
}
const packed = async (folder: string, bytesMax = 2 ** 24): Promise<Buffer> => {
  const parts: Array<Buffer> = []
  for await (const part of archived(folder, bytesMax)) parts.push(part)
  return Buffer.concat(parts)
}
async function* pieces(bytes: Buffer, size = 700): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
const limits = { bytesMax: 2 ** 24, entriesMax: 100, owner: undefined }
const refused = (archive: Buffer, folder = fresh(), more: Partial<typeof limits> = {}): Promise<unknown> =>
  unpacked(pieces(archive), folder, { ...limits, ...more }).then(() => "unpacked", (cause: unknown) => cause)

/** What the system's own tar makes of it. */
const byTar = (from: string, ...args: ReadonlyArray<string>): Buffer => {
  const made = spawnSync("tar", ["-C", from, "--format=ustar", "--absolute-names", "-cf", "-", ...args])
  assert.strictEqual(made.status, 0, made.stderr.toString())
  return made.stdout
}

describe("an archive of files", () => {
  const full = (): string => {
    const folder = fresh()
    mkdirSync(join(folder, "d", "e"), { recursive: true })
    writeFileSync(join(folder, "d", "a"), "x".repeat(1_500))
    writeFileSync(join(folder, "d", `${"long".repeat(40)}-ä`), "y")
    writeFileSync(join(folder, "empty"), "")
    chmodSync(join(folder, "empty"), 0o4751)
    symlinkSync("/etc/passwd", join(folder, "link"))
    symlinkSync("z".repeat(300), join(folder, "d", "far"))
    spawnSync("mkfifo", [join(folder, "pipe")])
    return folder
  }

  it("holds what a folder holds: unpacked and packed again it is the same, byte for byte", async () => {
    const from = full()
    const first = await packed(from)
    const into = fresh()
    await unpacked(pieces(first), into, limits)
    assert.deepStrictEqual(await packed(into), first)
    assert.deepStrictEqual(readdirSync(into).sort(), ["d", "empty", "link"])
    assert.strictEqual(readlinkSync(join(into, "link")), "/etc/passwd")
    assert.strictEqual(statSync(join(into, "empty")).mode & 0o7777, 0o751)
  })

  it("is read by the system's own tar", async () => {
    const file = join(fresh(), "a.tar")
    writeFileSync(file, await packed(full()))
    const into = fresh()
    assert.strictEqual(spawnSync("tar", ["-C", into, "-xf", file]).status, 0)
    assert.strictEqual(readFileSync(join(into, "d", `${"long".repeat(40)}-ä`), "utf8"), "y")
  })

  it("a sparse file counts as long as it looks", async () => {
    const folder = fresh()
    writeFileSync(join(folder, "sparse"), "")
    truncateSync(join(folder, "sparse"), 2 ** 34)
    assert.instanceOf(await packed(folder).catch((cause: unknown) => cause), ArchiveTooLarge)
  })

  it("leads nowhere outside: not by .., not from the root, not over a link, not twice to one place", async () => {
    const from = fresh()
    const outside = join(home, "outside")
    mkdirSync(join(from, "sub"))
    writeFileSync(join(home, "outside-file"), "x")
    assert.instanceOf(await refused(byTar(join(from, "sub"), "../../outside-file")), ArchiveUnsafe)
    assert.instanceOf(await refused(byTar(from, join(home, "outside-file"))), ArchiveUnsafe)
    symlinkSync(outside, join(from, "way"))
    const link = byTar(from, "way")
    rmSync(join(from, "way"))
    mkdirSync(join(from, "way"))
    writeFileSync(join(from, "way", "in"), "x")
    const over = Buffer.concat([link.subarray(0, 512), byTar(from, "way/in")])
    assert.instanceOf(await refused(over), ArchiveUnsafe)
    assert.isFalse(existsSync(outside))
    const twice = Buffer.concat([link.subarray(0, 512), byTar(from, "way")])
    assert.instanceOf(await refused(twice), Error)
  })

  it("holds no device, no pipe, no more than is allowed, and no half of anything", async () => {
    const from = fresh()
    spawnSync("mkfifo", [join(from, "pipe")])
    assert.instanceOf(await refused(byTar(from, "pipe")), ArchiveUnsafe)
    const whole = await packed(full())
    assert.instanceOf(await refused(whole, fresh(), { entriesMax: 2 }), ArchiveUnsafe)
    assert.instanceOf(await refused(whole, fresh(), { bytesMax: 2_000 }), ArchiveUnsafe)
    assert.instanceOf(await refused(whole.subarray(0, 1_200)), ArchiveUnsafe)
    whole[10] = 255
    assert.instanceOf(await refused(whole), ArchiveUnsafe)
  })
})
