import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { noHealth } from "../domain/gpu-health.ts"
import { capabilities } from "../testing/placement.ts"
import { findGpus, withGpus } from "./gpus.ts"
import { kernelErrors } from "./kernel-log.ts"
import { readingsIn } from "./nvidia-smi.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-gpus-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

// As nvidia-smi prints them with --format=csv,noheader,nounits: a field that a device does not have is [N/A].
const h100s = "0, GPU-5d1b4e6a-0000-4b55-bb1c-000000000000, NVIDIA H100 80GB HBM3, 81559, 00000000:3B:00.0, 34, 0, No, No\n1, GPU-5d1b4e6a-1111-4b55-bb1c-111111111111, NVIDIA H100 80GB HBM3, 81559, 00000000:86:00.0, 36, 0, No, No\n"
const t4 = "0, GPU-3e8f2a10-0000-5a7b-9d4c-000000000000, Tesla T4, 15360, 00000000:00:1E.0, 29\n"

/** A tool that prints what lies beside it, and a kernel's log. */
const machine = Effect.fnUntraced(function*(answer: string, code = 0) {
  const at = yield* folder
  const [smi, kernelLog, test] = [join(at, "nvidia-smi"), join(at, "kmsg"), join(at, "test-gpu")]
  const says = (text: string, ends = 0) => writeFileSync(smi, `#!/bin/sh\ncat <<'END'\n${text.trimEnd()}\nEND\nexit ${ends}\n`, { mode: 0o755 })
  says(answer, code)
  writeFileSync(kernelLog, "")
  return { at, smi, kernelLog, test, says, options: { smi, kernelLog, test: undefined, folder: at } }
})

describe("the driver's tool", () => {
  it("tells of its devices row by row; what it does not know of one is left away, and a row of another form is none", () => {
    const [first] = readingsIn(h100s)
    assert.deepStrictEqual(first, {
      index: 0, uuid: "GPU-5d1b4e6a-0000-4b55-bb1c-000000000000", name: "NVIDIA H100 80GB HBM3", memoryMib: 81_559, busId: "0000:3b:00", temperatureC: 34, eccUncorrected: 0, remapFailed: false, remapPending: false
    })
    assert.deepStrictEqual(Object.keys(readingsIn("0, GPU-1, GeForce, 24564, 00000000:01:00.0, 40, [N/A], [N/A], [N/A]")[0]!), ["index", "uuid", "name", "memoryMib", "busId", "temperatureC"])
    assert.deepInclude(readingsIn("0, GPU-1, H100, 1, 00000000:01:00.0, [Unknown Error], 3, Yes, 1")[0], { eccUncorrected: 3, remapFailed: true, remapPending: true })
    for (const text of ["", "No devices were found", "[GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]"]) assert.isEmpty(readingsIn(text))
  })

  it.live("finds what the host offers; a machine without it, or whose driver finds none, offers no GPU", () => Effect.gen(function*() {
    const { at, options, says } = yield* machine(h100s)
    const offered = withGpus(capabilities, yield* findGpus(options))
    assert.deepStrictEqual([offered.resources.gpus, offered.gpus[1]], [2, { index: 1, model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 }])
    assert.strictEqual(withGpus(capabilities, yield* findGpus({ ...options, smi: join(at, "nowhere") })), capabilities)
    says("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9)
    assert.strictEqual(withGpus(capabilities, yield* findGpus(options)), capabilities)
  }))

  it.live("of an older driver is asked for less", () => Effect.gen(function*() {
    const { options, smi } = yield* machine("")
    writeFileSync(smi, `#!/bin/sh\ncase "$1" in *remapped*) echo 'Field "remapped_rows.failure" is not a valid field to query.'; exit 2;; esac\nprintf '%s' '${t4}'\n`, { mode: 0o755 })
    assert.deepStrictEqual((yield* findGpus(options)).readings.map(({ busId, name }) => [busId, name]), [["0000:00:1e", "Tesla T4"]])
  }))
})

describe("a look at the GPUs of a host", () => {
  it.live("has the driver's errors since the last look, each once, and those of before the agent began", () => Effect.gen(function*() {
    const { kernelLog, options } = yield* machine(h100s)
    appendFileSync(kernelLog, "6,10,100,-;usb 1-1: new device\n4,11,200,-;NVRM: Xid (PCI:0000:86:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n SUBSYSTEM=pci\n")
    const gpus = yield* findGpus(options)
    const first = yield* gpus.look(noHealth)
    assert.deepStrictEqual(first.look.xids, [{ busId: "0000:86:00", code: 79 }])
    assert.lengthOf(first.look.readings ?? [], 2)
    appendFileSync(kernelLog, "4,12,300,-;NVRM: Xid (PCI:0000:3b:00): 48, pid=7\n")
    const second = yield* gpus.look(first.health)
    assert.deepStrictEqual(second.look.xids, [{ busId: "0000:3b:00", code: 48 }])
    assert.isEmpty((yield* gpus.look(second.health)).look.xids)
    assert.deepStrictEqual(kernelErrors(join(kernelLog, "nowhere"), 5), { xids: [], sequence: 5 })
  }))

  it.live("tells of a device that was lost by its place on the bus, and of a tool that went", () => Effect.gen(function*() {
    const { options, says, smi } = yield* machine(h100s)
    const gpus = yield* findGpus(options)
    says("Unable to determine the device handle for GPU0000:86:00.0: GPU is lost.  Reboot the system to recover this GPU", 15)
    const { look } = yield* gpus.look(noHealth)
    assert.deepInclude(look, { readings: undefined, lost: "0000:86:00" })
    rmSync(smi)
    assert.match((yield* gpus.look(noHealth)).look.complaint ?? "", /ENOENT/u)
  }))

  it.live("is remembered on the host's disk", () => Effect.gen(function*() {
    const { at, options } = yield* machine(h100s)
    const gpus = yield* findGpus(options)
    assert.deepStrictEqual(yield* gpus.remembered, noHealth)
    const health = { ...noHealth, silent: 2 }
    yield* gpus.remember(health)
    assert.deepStrictEqual(yield* (yield* findGpus(options)).remembered, health)
    writeFileSync(join(at, "gpus.json"), "{ half")
    assert.deepStrictEqual(yield* gpus.remembered, noHealth)
  }))
})

describe("the test of a GPU", () => {
  it.live("is a program that finds that device alone, and what the driver says afterwards", () => Effect.gen(function*() {
    const { at, options, says, test } = yield* machine(h100s)
    writeFileSync(test, `#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" > ${at}/seen\ntest ! -e ${at}/broken\n`, { mode: 0o755 })
    const gpus = yield* findGpus({ ...options, test })
    const device = gpus.readings[1]!
    assert.deepStrictEqual(yield* gpus.test(device), { passed: true, test })
    writeFileSync(join(at, "broken"), "")
    assert.isFalse((yield* gpus.test(device)).passed)
    rmSync(join(at, "broken"))
    says(h100s.replace("36, 0, No, No", "36, 0, Yes, No"))
    assert.isFalse((yield* gpus.test(device)).passed, "a row could not be remapped")
    says(h100s.split("\n")[0]!)
    assert.isFalse((yield* gpus.test(device)).passed, "it is gone")
  }))
})
