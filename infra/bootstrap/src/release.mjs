import { createHash } from "node:crypto"
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { Readable, Transform } from "node:stream"
import { pipeline } from "node:stream/promises"
import { runCommand } from "./command.mjs"

/**
 * The vendor's release of nats-server, for machines whose package manager has none. The checksums are
 * those of the vendor's own container files (github.com/nats-io/nats-docker, 2.15.x/alpine3.22).
 *
 * @typedef {object} Release
 * @property {string} version
 * @property {string} base where releases are downloaded from; `MILLRACE_RELEASES` names a mirror, which cannot change what is accepted
 * @property {Readonly<Record<string, string>>} sha256 of the archive, by `platform-arch` as Node names them
 */

/** @type {Release} */
export const NATS_SERVER_RELEASE = {
  version: "2.15.0",
  base: process.env["MILLRACE_RELEASES"] || "https://github.com/nats-io/nats-server/releases/download",
  sha256: {
    "linux-x64": "5d2c51caca950333aba84911df7d377f826f3a59ec36061c6539105084f65c92",
    "linux-arm64": "cdc208f5a3f42963a52b6ab06ef65626bb870315dc936e26ba571780c6351112"
  }
}

const ARCHITECTURES = new Map([["x64", "amd64"], ["arm64", "arm64"]])
const DOWNLOAD_MS_MAX = 300_000
const UNPACK_MS_MAX = 60_000
const BYTES_MAX = 200 * 1024 * 1024

/**
 * Downloads and unpacks a release, and gives the path of its nats-server. Nothing of it is unpacked
 * before its checksum is proven; what was unpacked once is kept. Rejects with one sentence.
 * @param {Release} release
 * @param {{ home: string, says: (said: string) => void, onStart: (pid: number) => void }} where
 * @returns {Promise<string>}
 */
export const takeRelease = async (release, { home, onStart, says }) => {
  const machine = `${process.platform}-${process.arch}`
  const sha256 = release.sha256[machine]
  if (sha256 === undefined) throw new Error(`no checksum of the vendor's release is known for ${machine}`)
  const name = `nats-server-v${release.version}-${process.platform}-${ARCHITECTURES.get(process.arch)}`
  const packages = join(home, "packages")
  const folder = join(packages, name)
  const binary = join(folder, "nats-server")
  if (existsSync(binary)) return binary

  const partial = join(packages, `.partial-${process.pid}-${name}`)
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(partial, { recursive: true })
  const archive = join(partial, "release.tar.gz")
  const url = `${release.base}/v${release.version}/${name}.tar.gz`
  says(`downloading ${name}`)
  const found = await download(url, archive)
  if (found !== sha256) {
    rmSync(partial, { recursive: true, force: true })
    throw new Error(`${url} is not the file it should be: its SHA-256 is ${found}, expected ${sha256}`)
  }
  says(`unpacking ${name}`)
  const { problem } = await runCommand("tar", ["-xzf", archive, "-C", partial, "--no-same-owner"], { limitMs: UNPACK_MS_MAX, onStart })
  if (problem !== undefined) throw new Error(`${name} could not be unpacked: ${problem}`)
  renameSync(join(partial, name), folder)
  rmSync(partial, { recursive: true, force: true })
  return binary
}

/**
 * Writes what lies at `url` to a file, within limits of time and size, and gives its SHA-256.
 * @param {string} url
 * @param {string} file
 */
const download = async (url, file) => {
  const hash = createHash("sha256")
  let bytes = 0
  const measure = new Transform({
    transform(chunk, _encoding, next) {
      bytes += chunk.length
      hash.update(chunk)
      next(bytes > BYTES_MAX ? new Error(`${url} is larger than ${BYTES_MAX} bytes`) : null, chunk)
    }
  })
  const signal = AbortSignal.timeout(DOWNLOAD_MS_MAX)
  try {
    const answer = await fetch(url, { signal, redirect: "follow" })
    if (!answer.ok || answer.body === null) throw new Error(`the answer was ${answer.status}`)
    await pipeline(Readable.fromWeb(/** @type {import("node:stream/web").ReadableStream} */ (answer.body)), measure, createWriteStream(file), { signal })
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    throw new Error(`${url} could not be downloaded: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
  return hash.digest("hex")
}
