import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onstartMax, onstartOf } from "./vast-boot.ts"

const cloudConfig = (config: unknown): string => `#cloud-config\n${JSON.stringify(config, null, 2)}\n`

describe("a start script", () => {
  it.effect("writes the files of its user data, for those alone whom they are for, and runs its commands", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-boot-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
      )
      const secret = "it's \"quoted\" $HOME `here`\n"
      const script = onstartOf(cloudConfig({
        write_files: [{ path: join(folder, "etc", "one-time-key"), permissions: "0600", owner: "root:root", content: secret }],
        runcmd: [["false"], ["cp", join(folder, "etc", "one-time-key"), join(folder, "copy")], `echo $((6*7)) > ${join(folder, "shell")}`]
      }))
      assert.isDefined(script)
      const ran = spawnSync("sh", ["-c", script!], { timeout: 20_000, encoding: "utf8" })
      assert.deepStrictEqual([ran.status, ran.stderr], [0, ""])
      assert.deepStrictEqual([readFileSync(join(folder, "etc", "one-time-key"), "utf8"), readFileSync(join(folder, "copy"), "utf8"), readFileSync(join(folder, "shell"), "utf8")], [secret, secret, "42\n"])
      assert.strictEqual(statSync(join(folder, "etc", "one-time-key")).mode & 0o777, 0o600)
    })))

  it("fits the vendor's limit with the settings of an agent, and says where it does not", () => {
    const settings = Array.from({ length: 40 }, (_, at) => `MILLRACE_SETTING_${at}=nats://10.0.0.${at}:4222`).join("\n")
    const script = onstartOf(cloudConfig({ write_files: [{ path: "/etc/millrace/host.env", content: settings }], runcmd: [["systemctl", "enable", "--now", "millrace-host"]] }))
    assert.isBelow(script!.length, onstartMax)
    assert.isUndefined(onstartOf(cloudConfig({ runcmd: Array.from({ length: 900 }, (_, at) => [String(Math.sin(at))]) })))
  })

  it("is made of nothing that it could not apply", () => {
    for (const userData of ["#!/bin/sh\ntrue\n", "#cloud-config\npackages: [curl]\n", cloudConfig({ packages: ["curl"] }), ""]) assert.isUndefined(onstartOf(userData))
  })
})
