import { lambdaCloud, type Machine, type Power, type RunningCloud, startSky } from "@millrace/sky"
import { Effect, Fiber } from "effect"
import { createServer, type Server } from "node:http"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { exitCodes } from "../exit-codes.ts"
import { millraceHere, type Ran } from "../testing/cell.ts"

/** Machines that say what became of them. */
class Lamps implements Power {
  readonly lit = new Map<string, Machine>()
  readonly crashed: Array<string> = []
  readonly on = (machine: Machine): void => void this.lit.set(machine.id, machine)
  readonly off = ({ id }: Machine): void => void this.lit.delete(id)
  readonly crash = (id: string): boolean => this.lit.has(id) && this.crashed.push(id) > 0
  readonly allOff = (): Promise<void> => Promise.resolve()
}

const hostId = `hst_${"A".repeat(26)}`

describe("the pretend cloud, from the command", () => {
  const lamps = new Lamps()
  const folder = mkdtempSync(join(tmpdir(), "millrace-sky-"))
  let sky: RunningCloud
  let stopSky: () => Promise<unknown>
  let leases: Server
  let machine: string

  const door = (skyUrl: string) =>
    writeFileSync(join(folder, "door.json"), JSON.stringify({
      apiUrl: `http://127.0.0.1:${(leases.address() as { port: number }).port}`, natsUrl: "nats://127.0.0.1:1", credentials: folder, tokenFile: join(folder, "token"), checkpoints: folder, skyUrl
    }))
  const here = (...args: ReadonlyArray<string>): Promise<Ran> => millraceHere(folder, args)
  const codeIn = ({ stderr }: Ran): string => (JSON.parse(stderr) as { error: { code: string } }).error.code

  beforeAll(async () => {
    writeFileSync(join(folder, "token"), "mill_test\n")
    sky = await new Promise<RunningCloud>((settle, refuse) => {
      const fiber = Effect.runFork(Effect.scoped(Effect.gen(function*() {
        const { lambda } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "key", everyMs: { any: 0, launch: 0 } }) }, power: lamps })
        settle(lambda)
        return yield* Effect.never
      })))
      stopSky = () => Effect.runPromise(Fiber.interrupt(fiber))
      fiber.addObserver((exit) => exit._tag === "Failure" && refuse(new Error(String(exit.cause))))
    })
    const launched = await fetch(`${sky.url}/api/v1/instance-operations/launch`, {
      method: "POST",
      headers: { authorization: "Bearer key", "content-type": "application/json" },
      body: JSON.stringify({ region_name: "us-east-1", instance_type_name: Object.keys((await (await fetch(`${sky.url}/api/v1/instance-types`, { headers: { authorization: "Bearer key" } })).json() as { data: object }).data)[0], ssh_key_names: ["millrace"], name: "one" })
    })
    const said = await launched.json() as { data: { instance_ids: ReadonlyArray<string> } }
    machine = said.data.instance_ids[0]!
    // What the broker answers of leases, with the machine that truly runs.
    leases = await new Promise((settle) => {
      const server = createServer((_, response) =>
        void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ leases: [{ leaseId: `lse_${"A".repeat(26)}`, stands: "held", hostId, machine }], cut: {} })))
      server.listen(0, "127.0.0.1", () => settle(server))
    })
    door(sky.url)
  })
  afterAll(async () => {
    await stopSky?.()
    await new Promise((settle) => leases?.close(settle))
    rmSync(folder, { recursive: true, force: true })
  })

  it("has weather that is shown and set, and wears off", async () => {
    const set = await here("sky", "weather", "noCapacity=gpu_1x_h100,gpu_1x_a10@us-east-1", "failing=2", "-o", "json")
    assert.deepInclude(JSON.parse(set.stdout).weather, { noCapacity: ["gpu_1x_h100", "gpu_1x_a10@us-east-1"], failing: 2 })
    assert.match((await here("sky", "weather")).stdout, /^noCapacity +gpu_1x_h100, gpu_1x_a10@us-east-1$/mu)
    await here("sky", "weather", "noCapacity=", "failing=0")
    assert.deepInclude(sky.weather.now, { noCapacity: [], failing: 0 })
    const wrong = await here("sky", "weather", "rain=3", "-o", "json")
    assert.deepStrictEqual([wrong.code, codeIn(wrong)], [exitCodes.rejected.code, "sky_refused"])
  })

  it("says what truly runs and costs", async () => {
    const ledger = JSON.parse((await here("sky", "ledger", "-o", "json")).stdout) as { running: ReadonlyArray<{ id: string }> }
    assert.deepStrictEqual(ledger.running.map(({ id }) => id), [machine])
    assert.include((await here("sky", "ledger")).stdout, machine)
  })

  it("loses the machine behind a host when it is told so, and no other", async () => {
    const killed = await here("chaos", "kill-host", hostId, "-o", "json")
    assert.deepStrictEqual(JSON.parse(killed.stdout), { host: hostId, machine })
    assert.deepStrictEqual(lamps.crashed, [machine])
    const stranger = await here("chaos", "kill-host", `hst_${"B".repeat(26)}`, "-o", "json")
    assert.deepStrictEqual([stranger.code, codeIn(stranger)], [exitCodes.unknown.code, "host_not_rented"])
    const unknown = await here("chaos", "kill-host", "i-none", "-o", "json")
    assert.deepStrictEqual([unknown.code, codeIn(unknown)], [exitCodes.unknown.code, "machine_unknown"])
    assert.strictEqual(lamps.crashed.length, 1)
  })

  it("is never looked for on another machine", async () => {
    door("http://198.51.100.7:8090")
    const elsewhere = await here("chaos", "kill-host", machine, "-o", "json")
    assert.deepStrictEqual([elsewhere.code, codeIn(elsewhere)], [exitCodes.unavailable.code, "sky_elsewhere"])
    assert.strictEqual(lamps.crashed.length, 1)
  })
})
