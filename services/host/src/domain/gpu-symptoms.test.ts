import { assert, describe, it } from "vitest"
import { busIdOf, type GpuReading, runtimeErrorIn, symptomOf, symptomOfXid, xidIn } from "./gpu-symptoms.ts"

const well: GpuReading = { index: 0, uuid: "GPU-1", name: "NVIDIA H100 80GB HBM3", memoryMib: 81_559, busId: "0000:3b:00", temperatureC: 40, eccUncorrected: 2, remapFailed: false, remapPending: false }

describe("symptoms of a GPU", () => {
  it("are errors of the driver that tell of the device, in the words that the kernel's log has for them", () => {
    assert.deepStrictEqual(xidIn("NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."), { busId: "0000:3b:00", code: 79 })
    assert.deepStrictEqual(xidIn("4,1032,98210,-;NVRM: Xid (0000:86:00): 48, pid=812, An uncorrectable double bit error (DBE) has been detected"), { busId: "0000:86:00", code: 48 })
    assert.strictEqual(symptomOfXid({ busId: "", code: 79 }), "Xid 79: it has fallen off the bus")
    for (const code of [13, 31, 43, 45, 63]) assert.isUndefined(symptomOfXid({ busId: "", code }), "what programs cause, and what was mended")
    for (const line of ["NVRM: loading NVIDIA UNIX x86_64 Kernel Module", "usb 1-1: Xid (PCI:0000:3b:00): 79", ""]) assert.isUndefined(xidIn(line))
  })

  it("know a device by its place on the bus, however that is written", () => {
    assert.strictEqual(busIdOf("00000000:3B:00.0"), busIdOf("0000:3b:00"))
    assert.notStrictEqual(busIdOf("00000001:3B:00.0"), busIdOf("0000:3b:00"))
  })

  it("are errors of its memory, rows that could not be remapped, and heat", () => {
    assert.isUndefined(symptomOf(well, 2))
    assert.isUndefined(symptomOf(well, undefined), "errors of before it was first looked at")
    assert.match(symptomOf({ ...well, eccUncorrected: 5 }, 2) ?? "", /^3 uncorrectable/u)
    assert.match(symptomOf({ ...well, remapFailed: true }, 2) ?? "", /could not be remapped/u)
    assert.match(symptomOf({ ...well, remapPending: true }, 2) ?? "", /reset the device/u)
    assert.match(symptomOf({ ...well, temperatureC: 96 }, 2) ?? "", /96 °C/u)
  })

  it("are errors of the runtime, where they tell of the device and not of the program", () => {
    assert.strictEqual(runtimeErrorIn("RuntimeError: CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be"), "uncorrectable ECC error encountered")
    for (const text of ["CUDA error: an illegal memory access was encountered", "CUDA out of memory", "error"]) assert.isUndefined(runtimeErrorIn(text))
  })
})
