import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onPath } from "./index.mjs"

/** A small Debian archive of our own for tests: real packages, served over a real socket. */
export interface PackageArchive {
  /** Stands in for /etc/apt: the package sources of a machine that uses this archive. */
  readonly etcApt: string
  /** A PATH with what apt needs, and without any tool that would have to be fetched. */
  readonly path: string
  readonly folder: string
  /** How often a package was asked for. */
  readonly downloads: () => number
  readonly requests: () => number
  /** Has the next download stop in the middle, and tells when it has come that far. */
  readonly stallNextDownload: () => Promise<void>
  readonly close: () => Promise<void>
}

const COMMANDS = ["sh", "env", "apt-get", "dpkg", "dpkg-deb", "tar", "gzip", "xz", "zstd", "cat", "rm"]

/** Holds one package, `nats-server`, whose program prints the version given. */
export const packageArchive = async (natsServerVersion: string): Promise<PackageArchive> => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-archive-"))
  const deb = buildPackage(folder, natsServerVersion)
  const packages = describePackage(deb, natsServerVersion)
  const architecture = execFileSync("dpkg", ["--print-architecture"], { encoding: "utf8" }).trim()
  let requests = 0
  let downloads = 0
  let stalled: (() => void) | undefined
  const held = new Set<ServerResponse>()
  const server = createServer((request, response) => {
    requests += 1
    const suite = /^\/dists\/([a-z-]+)\//.exec(request.url ?? "")?.[1]
    if (request.url?.endsWith("/Release") && suite !== undefined) return response.end(describeSuite(suite, architecture, packages))
    if (request.url?.endsWith("/Packages")) return response.end(packages)
    if (!request.url?.endsWith(".deb")) return response.writeHead(404).end()
    downloads += 1
    if (stalled === undefined) return response.end(deb)
    response.writeHead(200, { "content-length": deb.length })
    held.add(response)
    const tell = stalled
    stalled = undefined
    response.write(deb.subarray(0, deb.length >> 1), () => tell())
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const etcApt = join(folder, "etc-apt")
  mkdirSync(join(etcApt, "sources.list.d"), { recursive: true })
  const { port } = server.address() as AddressInfo
  writeFileSync(join(etcApt, "sources.list.d", "test.sources"), `Types: deb\nURIs: http://127.0.0.1:${port}\nSuites: ${codename()}\nComponents: main\nTrusted: yes\n`)
  return {
    etcApt,
    path: pathOf(folder),
    folder,
    requests: () => requests,
    downloads: () => downloads,
    stallNextDownload: () => new Promise((resolve) => (stalled = resolve)),
    close: async () => {
      for (const response of held) response.destroy()
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

const buildPackage = (folder: string, version: string) => {
  const tree = join(folder, "tree")
  mkdirSync(join(tree, "DEBIAN"), { recursive: true })
  mkdirSync(join(tree, "usr", "sbin"), { recursive: true })
  writeFileSync(join(tree, "DEBIAN", "control"), control(version))
  writeFileSync(join(tree, "usr", "sbin", "nats-server"), `#!/bin/sh\necho nats-server: v${version}\n`, { mode: 0o755 })
  execFileSync("dpkg-deb", ["--root-owner-group", "-Zgzip", "--build", tree, join(folder, "nats-server.deb")], { stdio: "ignore" })
  return readFileSync(join(folder, "nats-server.deb"))
}

const control = (version: string) =>
  `Package: nats-server\nVersion: ${version}-1\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: stands in for nats-server\n`

const describePackage = (deb: Buffer, version: string) =>
  `${control(version)}Filename: pool/nats-server_${version}-1_all.deb\nSize: ${deb.length}\nSHA256: ${sha256(deb)}\n\n`

const describeSuite = (suite: string, architecture: string, packages: string) =>
  `Origin: Test\nSuite: ${suite}\nCodename: ${suite}\nDate: ${new Date().toUTCString()}\nArchitectures: all ${architecture}\nComponents: main\nSHA256:\n ${sha256(packages)} ${packages.length} main/binary-${architecture}/Packages\n`

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex")

const codename = () => /^VERSION_CODENAME=(.*)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "stable"

const pathOf = (folder: string) => {
  const bin = join(folder, "path")
  mkdirSync(bin)
  for (const command of COMMANDS) {
    const found = onPath(command)
    if (found !== undefined && statSync(found).isFile()) symlinkSync(found, join(bin, command))
  }
  return bin
}
