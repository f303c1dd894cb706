import { accessProcess } from "@millrace/access"
import { brokerProcess } from "@millrace/broker"
import { findTool } from "@millrace/bootstrap"
import { gatewayProcess } from "@millrace/gateway"
import { hostProcess } from "@millrace/host"
import { meteringProcess } from "@millrace/metering"
import { schedulerProcess } from "@millrace/scheduler"
import { describe as described, processConfig, readSettings, type Service, SETTINGS_FILE, settingsSource } from "@millrace/service"
import { snapshotsProcess } from "@millrace/snapshots"
import { assert, describe, it } from "@effect/vitest"
import { Config, Duration, Effect } from "effect"
import { existsSync } from "node:fs"
import { databaseSettings } from "./database.ts"
import { type Part, parts, withTables } from "./parts.ts"
import { placesOnOneMachine, processes, type ProcessName, usualPorts } from "./places.ts"
import { allTogether, cellSettings, type Settings } from "./settings.ts"
import { readVersions } from "./versions.ts"

const services: Readonly<Record<ProcessName, Service<any, any>>> = {
  gateway: gatewayProcess,
  scheduler: schedulerProcess,
  access: accessProcess,
  metering: meteringProcess,
  broker: brokerProcess,
  snapshots: snapshotsProcess,
  host: hostProcess
}

const oneMachine = cellSettings(placesOnOneMachine({ folder: "/cell", natsUrl: "nats://127.0.0.1:4222", databaseUrl: "postgres://u:p@127.0.0.1:5433/d" }))
const partOf = (name: string): Part => parts.find((part) => part.name === name)!
const hasTables = (name: string) => (withTables as ReadonlyArray<string>).includes(name)

/** What its file of settings says, as the process reads it: what stands in the file counts as given. */
const withItsFile = (name: ProcessName, { [SETTINGS_FILE]: file, ...rest }: Settings): Settings => {
  if (file === undefined || !hasTables(name)) return rest
  const [key, ...value] = databaseSettings(name as typeof withTables[number], "secret").trim().split("=")
  return { ...rest, [key!]: value.join("=") }
}

for (const [where, settingsOf] of [["on one machine", (name: ProcessName) => oneMachine[name]], ["in containers", (name: ProcessName) => withItsFile(name, partOf(name).settings)]] as const) {
  describe(`settings ${where}`, () => {
    for (const name of processes) {
      const config = Config.all({ process: processConfig, service: services[name].config })
      it.effect(`${name} is given every setting that it demands, and each can be read`, () =>
        Effect.gen(function*() {
          yield* readSettings(config, yield* settingsSource(settingsOf(name)))
        }))

      it.effect(`${name} is given none that it does not know`, () =>
        Effect.gen(function*() {
          const known = (yield* described(config)).map((one) => one.name)
          assert.deepStrictEqual(Object.keys(settingsOf(name)).filter((given) => !known.includes(given)), [])
        }))
    }
  })
}

describe("settings", () => {
  it("agree, so that one process may be all of them", () => {
    const all = allTogether(oneMachine)
    assert.strictEqual(all["MILLRACE_API_URL"], `http://127.0.0.1:${usualPorts.gateway}`)
    assert.throws(() => allTogether({ ...oneMachine, host: { ...oneMachine.host, MILLRACE_NATS_URL: "nats://elsewhere:4222" } }), /MILLRACE_NATS_URL/u)
  })

  it.effect("ports are those that the services have by default", () =>
    Effect.gen(function*() {
      for (const [name, port] of Object.entries(usualPorts)) {
        const named = (yield* described(services[name as ProcessName].config)).find((one) => /_PORT$/u.test(one.name))
        assert.strictEqual(named?.initially, String(port), `${name}: ${named?.name}`)
      }
    }))

  it.effect("addresses lead to the port that the named part listens on", () =>
    Effect.gen(function*() {
      for (const { name, settings } of parts) {
        for (const [key, value] of Object.entries(settings).filter(([key]) => /_URL$/u.test(key))) {
          const { hostname, port } = new URL(value)
          assert.strictEqual(partOf(hostname).port, Number(port), `${name}: ${key}`)
          assert.include(partOf(name).asks, hostname, `${name} may not reach ${hostname}`)
        }
      }
    }))
})

describe("parts", () => {
  it("are each given their own credentials and nobody else's", () => {
    const credentials = (part: Part) => part.reads.filter(({ from }) => from.endsWith(".creds")).map(({ from }) => from)
    for (const part of parts) {
      const own = { nats: [], postgres: [], host: [], provision: ["keys/nats/provisioner.creds"] }[part.name as string] ?? [`keys/nats/${part.name}.creds`]
      assert.deepStrictEqual(credentials(part), own, part.name)
    }
  })

  it("share no secret but the keys of workspaces, which gateway and host need for their work", () => {
    const readers = new Map<string, ReadonlyArray<string>>()
    for (const { name, reads } of parts) for (const { from } of reads) readers.set(from, [...readers.get(from) ?? [], name])
    const publicHalf = (path: string) => path.endsWith(".pub")
    assert.deepStrictEqual([...readers].filter(([path, names]) => names.length > 1 && !publicHalf(path)), [])
    assert.deepStrictEqual(readers.get("keys/cell.pem"), ["scheduler"])
    assert.deepStrictEqual(readers.get("keys/nats/admission.json"), ["access"])
    assert.deepStrictEqual(readers.get("keys/owner.json"), ["access"])
    assert.deepStrictEqual(readers.get("keys/session.pem"), ["gateway"])
    assert.deepStrictEqual(readers.get("keys/token"), undefined)
    const withWorkspaceKeys = parts.filter(({ state }) => state.some(({ from }) => from === "state/workspaces"))
    assert.deepStrictEqual(withWorkspaceKeys.map(({ name, state }) => [name, state.find(({ from }) => from === "state/workspaces")?.access]), [["gateway", "write"], ["host", "read"]])
  })

  it("read every path that their settings name, or write below it", () => {
    for (const { name, reads, settings, state } of parts) {
      for (const [key, path] of Object.entries(settings).filter(([, value]) => value.startsWith("/"))) {
        const given = [...reads.map(({ at }) => at), ...state.map(({ at }) => at)]
        assert.isTrue(given.some((at) => at === path || at.startsWith(`${path}/`) || path.startsWith(`${at}/`)), `${name} is told ${key}=${path}, and has nothing there`)
      }
    }
  })

  it("hold no secret in their environment or their words", () => {
    for (const { command, settings } of parts) {
      const words = [...command, ...Object.values(settings)].join(" ")
      assert.notMatch(words, /:\/\/[^ /]+:[^ /]+@|mill_|BEGIN|PRIVATE/u)
      assert.deepStrictEqual(Object.keys(settings).filter((key) => /PASSWORD$|SECRET$|TOKEN$/u.test(key)), [])
    }
  })

  it("run files that are there", () => {
    for (const { command, image } of parts) if (image === "millrace") assert.isTrue(existsSync(new URL(`../../../${command[0]}`, import.meta.url)), command[0])
  })

  it.effect("are ended only after the time that they give themselves", () =>
    Effect.gen(function*() {
      for (const name of processes) {
        const { stopWithin } = yield* readSettings(processConfig, yield* settingsSource(withItsFile(name, partOf(name).settings)))
        assert.strictEqual(Duration.toSeconds(stopWithin), partOf(name).stopWithinS, name)
        assert.isAbove(partOf(name).stopGraceS, partOf(name).stopWithinS, name)
      }
    }))

  it("wait for parts that are there, in no circle", () => {
    const before = new Set<string>()
    for (const { name, waitsFor } of [...parts].toSorted((a, b) => Number(a.name === "host") - Number(b.name === "host"))) {
      for (const other of waitsFor) assert.isTrue(before.has(other), `${name} waits for ${other}`)
      before.add(name)
    }
  })

  it("are made of the versions that the tests run against", () => {
    const { nats, node, postgres } = readVersions()
    assert.deepStrictEqual({ nats, postgres }, { nats: findTool("natsServer").version, postgres: findTool("postgres").version })
    assert.strictEqual(Number(node.split(".")[0]), 24)
  })
})
