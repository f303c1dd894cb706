import { constants, type Stats } from "node:fs"
import { lchown, lstat, lutimes, mkdir, open, opendir, readlink, symlink } from "node:fs/promises"

/**
 * A folder as one stream of bytes: the POSIX tar format (IEEE Std 1003.1-2017, pax), names in byte order, so
 * that equal folders make equal streams. Regular files, folders and symbolic links are in it; sockets,
 * pipes and devices are not. Names are bytes throughout: file systems promise nothing about their encoding.
 */

const block = 512
const chunkBytes = 256 * 1024
const slash = Buffer.from("/")

/** The folder holds more than may be kept. */
export class ArchiveTooLarge extends Error {
  constructor(bytesMax: number) {
    super(`the files are more than ${bytesMax} bytes together`)
  }
}

/** The stream is no archive that this reads, or holds what no snapshot holds. */
export class ArchiveUnsafe extends Error {}

/** Writes the archive. The folder must be at rest. Links are not followed, and sparse files count as long as they look. */
export async function* archived(folder: string, bytesMax: number): AsyncGenerator<Buffer> {
  let left = bytesMax
  const take = (bytes: number) => {
    left -= bytes
    if (left < 0) throw new ArchiveTooLarge(bytesMax)
  }
  for await (const { at, name, stat } of walked(Buffer.from(folder))) {
    take(block)
    const mtime = Math.max(0, Math.floor(stat.mtimeMs / 1000))
    const entry = { name, mode: stat.mode & 0o777, mtime }
    if (stat.isDirectory()) yield header({ ...entry, name: Buffer.concat([name, slash]), type: "5", size: 0 })
    else if (stat.isSymbolicLink()) yield header({ ...entry, type: "2", size: 0, target: await readlink(at, "buffer") })
    else {
      take(stat.size)
      yield header({ ...entry, type: "0", size: stat.size })
      yield* contentsOf(at, stat.size)
    }
  }
  yield Buffer.alloc(2 * block)
}

interface Walked {
  readonly at: Buffer
  /** Relative to where the walk began. */
  readonly name: Buffer
  readonly stat: Stats
}

/** Every regular file, folder and link below a folder, in byte order, a folder before what is in it. */
export async function* walked(folder: Buffer, prefix: Buffer = Buffer.alloc(0)): AsyncGenerator<Walked> {
  const names: Array<Buffer> = []
  for await (const entry of await opendir(folder as unknown as string, { encoding: "buffer" as BufferEncoding })) names.push(entry.name as unknown as Buffer)
  for (const part of names.sort(Buffer.compare)) {
    const at = Buffer.concat([folder, slash, part])
    const name = prefix.length === 0 ? part : Buffer.concat([prefix, slash, part])
    const stat = await lstat(at)
    if (stat.isDirectory() || stat.isFile() || stat.isSymbolicLink()) yield { at, name, stat }
    if (stat.isDirectory()) yield* walked(at, name)
  }
}

async function* contentsOf(at: Buffer, size: number): AsyncGenerator<Buffer> {
  const file = await open(at, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    let left = size
    while (left > 0) {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(Math.min(chunkBytes, left)), 0, Math.min(chunkBytes, left), null)
      if (bytesRead === 0) throw new Error(`${at.toString()} became shorter while it was read`)
      left -= bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
  if (size % block > 0) yield Buffer.alloc(block - (size % block))
}

interface Entry {
  readonly name: Buffer
  readonly type: "0" | "2" | "5"
  readonly mode: number
  readonly mtime: number
  readonly size: number
  readonly target?: Buffer
}

const sizeMaxInHeader = 8 ** 11 - 1
const nothing = Buffer.alloc(0)

const header = ({ mode, mtime, name, size, target = nothing, type }: Entry): Buffer => {
  const records = [
    ...(name.length > 100 ? [record("path", name)] : []),
    ...(target.length > 100 ? [record("linkpath", target)] : []),
    ...(size > sizeMaxInHeader ? [record("size", Buffer.from(String(size)))] : [])
  ]
  const plain = ustar({ name: name.subarray(0, 100), type, mode, mtime, size: Math.min(size, sizeMaxInHeader), target: target.subarray(0, 100) })
  if (records.length === 0) return plain
  const extended = Buffer.concat(records)
  return Buffer.concat([ustar({ name: Buffer.from("pax"), type: "x", mode: 0o644, mtime: 0, size: extended.length, target: nothing }), extended, Buffer.alloc((block - (extended.length % block)) % block), plain])
}

/** A record says its own length, its digits included. */
const record = (key: string, value: Buffer): Buffer => {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")])
  let length = rest.length
  while (length !== rest.length + String(length).length) length = rest.length + String(length).length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

const ustar = (entry: { readonly name: Buffer; readonly type: string; readonly mode: number; readonly mtime: number; readonly size: number; readonly target: Buffer }): Buffer => {
  const bytes = Buffer.alloc(block)
  const octal = (value: number, at: number, width: number) => bytes.write(value.toString(8).padStart(width - 1, "0"), at, "latin1")
  entry.name.copy(bytes, 0)
  octal(entry.mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(entry.size, 124, 12)
  octal(entry.mtime, 136, 12)
  bytes.fill(" ", 148, 156)
  bytes.write(entry.type, 156, "latin1")
  entry.target.copy(bytes, 157)
  bytes.write("ustar\u000000", 257, "latin1")
  bytes.write(`${sumOf(bytes).toString(8).padStart(6, "0")}\0 `, 148, "latin1")
  return bytes
}

const sumOf = (bytes: Buffer): number => {
  let sum = 0
  for (const [at, byte] of bytes.entries()) sum += at >= 148 && at < 156 ? 32 : byte
  return sum
}

/** What unpacking may make, and for whom. */
export interface Unpacking {
  readonly bytesMax: number
  readonly entriesMax: number
  /** The host's account that what is made belongs to; without it, to whoever unpacks. */
  readonly owner: number | undefined
}

/**
 * Unpacks an archive into an empty folder that nobody else touches. Nothing is written outside it, whatever
 * the archive says: a name is relative and has no `..`, its folder was made by this archive itself, and nothing
 * is written over. Anything else ends it in `ArchiveUnsafe`, with part of it unpacked: the folder is then waste.
 */
export const unpacked = async (bytes: AsyncIterable<Uint8Array>, folder: string, { bytesMax, entriesMax, owner }: Unpacking): Promise<void> => {
  const input = new Input(bytes)
  const folders = new Set([""])
  const ages: Array<readonly [Buffer, number]> = []
  let [left, entries] = [bytesMax, 0]
  let extended: Partial<Record<"path" | "linkpath" | "size", Buffer>> = {}
  for (let head = await input.take(block); !head.every((byte) => byte === 0); head = await input.take(block)) {
    const { name, size, target, type, mode, mtime } = parsed(head, extended)
    if (type === "x") {
      if (size > 64 * 1024) throw new ArchiveUnsafe("an extended header is too long")
      extended = recordsIn(await input.take(size))
      await input.take((block - (size % block)) % block)
      continue
    }
    extended = {}
    entries += 1
    left -= block + (type === "0" ? size : 0)
    if (entries > entriesMax || left < 0) throw new ArchiveUnsafe(`it holds more than ${entriesMax} files or ${bytesMax} bytes`)
    const at = placed(folder, name, folders)
    if (type === "5") {
      await mkdir(at, { mode: mode | 0o700 })
      folders.add(keyOf(name))
    } else if (type === "2") await symlink(target, at)
    else if (type === "0") await written(input, at, size, mode)
    else throw new ArchiveUnsafe(`${name.toString()} is neither file, folder nor link`)
    if (owner !== undefined) await lchown(at, owner, owner)
    if (type === "5") ages.push([at, mtime])
    else await lutimes(at, mtime, mtime)
  }
  // A folder is as old as what was last put into it, so this comes last.
  for (const [at, mtime] of ages.reverse()) await lutimes(at, mtime, mtime)
}

const withoutSlash = (name: Buffer): Buffer => name.at(-1) === 47 ? name.subarray(0, -1) : name
const keyOf = (name: Buffer): string => withoutSlash(name).toString("latin1")

const placed = (folder: string, name: Buffer, folders: ReadonlySet<string>): Buffer => {
  const key = keyOf(name)
  const parts = key.split("/")
  if (parts.some((part) => part === "" || part === "." || part === ".." || part.includes("\0"))) throw new ArchiveUnsafe(`${JSON.stringify(key)} is no name inside a folder`)
  if (!folders.has(parts.slice(0, -1).join("/"))) throw new ArchiveUnsafe(`${JSON.stringify(key)} lies in no folder of the archive`)
  return Buffer.concat([Buffer.from(folder), slash, withoutSlash(name)])
}

const written = async (input: Input, at: Buffer, size: number, mode: number): Promise<void> => {
  const file = await open(at, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, mode & 0o777)
  try {
    for (let left = size; left > 0;) {
      const bytes = await input.take(Math.min(left, chunkBytes))
      // A disk that is nearly full takes a part and tells nobody but whoever looks: this goes on until all is there.
      await file.writeFile(bytes)
      left -= bytes.length
    }
  } finally {
    await file.close()
  }
  await input.take((block - (size % block)) % block)
}

const parsed = (head: Buffer, extended: Partial<Record<"path" | "linkpath" | "size", Buffer>>) => {
  if (head.toString("latin1", 257, 262) !== "ustar" || octalIn(head, 148, 8) !== sumOf(head)) throw new ArchiveUnsafe("a header is damaged")
  const size = extended.size === undefined ? octalIn(head, 124, 12) : Number(extended.size.toString("latin1"))
  if (!Number.isSafeInteger(size) || size < 0) throw new ArchiveUnsafe("a size is no number")
  const type = head.toString("latin1", 156, 157)
  return {
    name: extended.path ?? textIn(head, 0, 100),
    target: extended.linkpath ?? textIn(head, 157, 100),
    type: type === "\0" ? "0" : type,
    mode: octalIn(head, 100, 8) & 0o777,
    mtime: octalIn(head, 136, 12),
    size
  }
}

const textIn = (head: Buffer, at: number, width: number): Buffer => {
  const field = head.subarray(at, at + width)
  const end = field.indexOf(0)
  return Buffer.from(end < 0 ? field : field.subarray(0, end))
}

const octalIn = (head: Buffer, at: number, width: number): number => {
  const text = textIn(head, at, width).toString("latin1").trim()
  if (!/^[0-7]+$/u.test(text)) throw new ArchiveUnsafe("a number in a header is none")
  return parseInt(text, 8)
}

const recordsIn = (bytes: Buffer): Partial<Record<"path" | "linkpath" | "size", Buffer>> => {
  const found: Partial<Record<"path" | "linkpath" | "size", Buffer>> = {}
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at)
    const length = Number(bytes.toString("latin1", at, space))
    if (space < 0 || !Number.isSafeInteger(length) || length < 5 || at + length > bytes.length) throw new ArchiveUnsafe("an extended header is damaged")
    const equals = bytes.indexOf(61, space)
    if (equals < 0 || equals >= at + length) throw new ArchiveUnsafe("an extended header is damaged")
    const key = bytes.toString("latin1", space + 1, equals)
    if (key === "path" || key === "linkpath" || key === "size") found[key] = Buffer.from(bytes.subarray(equals + 1, at + length - 1))
    at += length
  }
  return found
}

/** Hands out a stream of bytes in the pieces that are asked for. */
class Input {
  readonly #bytes: AsyncIterator<Uint8Array>
  #have: Buffer = nothing

  constructor(bytes: AsyncIterable<Uint8Array>) {
    this.#bytes = bytes[Symbol.asyncIterator]()
  }

  async take(count: number): Promise<Buffer> {
    const parts: Array<Buffer> = []
    for (let missing = count; missing > 0;) {
      if (this.#have.length === 0) {
        const next = await this.#bytes.next()
        if (next.done === true) throw new ArchiveUnsafe("it ends in the middle")
        this.#have = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength)
      }
      const part = this.#have.subarray(0, missing)
      this.#have = this.#have.subarray(part.length)
      missing -= part.length
      parts.push(part)
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }
}
