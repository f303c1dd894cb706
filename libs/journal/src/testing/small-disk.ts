import { findTool } from "@millrace/bootstrap"
import { type NatsServer, type NatsUnavailable, startServer } from "@millrace/infra-nats"
import { Effect, type Scope } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { folder } from "./nats-under-test.ts"

/** A server whose files lie on a disk of their own, which a test can fill. */
export interface OnSmallDisk {
  readonly server: NatsServer
  /** Takes all that is free on the disk, but for so many bytes. */
  readonly fill: (leaveBytes: number) => void
  readonly free: () => void
}

const ways = [["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]] as const

/**
 * How this user gets a mount namespace with a disk of its own in it, or undefined where nobody may: in most
 * sandboxes. As root a mount namespace alone will do, elsewhere a user namespace goes with it.
 */
export const wayToSmallDisk = (): (typeof ways)[number] | undefined =>
  ways.find(([program, ...args]) => {
    try {
      execFileSync(program, [...args, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmpdir()], { stdio: "ignore", timeout: 5_000 })
      execFileSync("nsenter", ["--version"], { stdio: "ignore", timeout: 5_000 })
      return true
    } catch {
      return false
    }
  })

/**
 * Starts a nats-server on a tmpfs of so many MiB, in a mount namespace that ends with the scope: nothing of the
 * machine around it is touched.
 */
export const serverOnSmallDisk = Effect.fnUntraced(function*(
  [program, ...args]: (typeof ways)[number],
  mib: number
): Effect.fn.Return<OnSmallDisk, NatsUnavailable, Scope.Scope> {
  const storeDir = yield* folder
  const disk = join(storeDir, "jetstream")
  mkdirSync(disk)
  const holder = yield* Effect.acquireRelease(
    Effect.promise(() => new Promise<number>((resolve, reject) => {
      const child = spawn(program, [...args, "sh", "-c", 'mount -t tmpfs -o size="$1"m tmpfs "$2" && echo mounted && exec sleep 600', "sh", String(mib), disk], { stdio: ["ignore", "pipe", "inherit"] })
      child.stdout.once("data", () => resolve(child.pid!))
      child.once("exit", (code) => reject(new Error(`no disk of our own: unshare ended with ${code}`)))
    })),
    (pid) => Effect.sync(() => void process.kill(pid, "SIGKILL"))
  )
  // The server enters the namespace and then takes the place of nsenter, so its number is the one we started.
  const entering = join(storeDir, "nats-server.sh")
  const users = args.includes("--map-root-user" as never) ? "--user --preserve-credentials " : ""
  writeFileSync(entering, `#!/bin/sh\nexec nsenter --target ${holder} ${users}--mount ${process.env["MILLRACE_NATS_SERVER"] || findTool("natsServer").path} "$@"\n`, { mode: 0o700 })
  const server = yield* startServer({ storeDir, program: entering })
  const inside = `/proc/${holder}/root${disk}`
  return {
    server,
    fill: (leaveBytes) => {
      const { bavail, bsize } = statfsSync(inside)
      writeFileSync(join(inside, "ballast"), Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)))
    },
    free: () => rmSync(join(inside, "ballast"))
  }
})
