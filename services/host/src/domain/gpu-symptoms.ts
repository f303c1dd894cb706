/** What the driver's tool said of one device. What it does not support, or does not know, is not there. */
export interface GpuReading {
  readonly index: number
  readonly uuid: string
  readonly name: string
  readonly memoryMib: number
  /** As the kernel writes it: domain, bus and device in small hex digits, such as `0000:3b:00`. */
  readonly busId: string
  readonly temperatureC?: number
  /** Errors that the memory's code could not mend, since the driver was loaded. */
  readonly eccUncorrected?: number
  readonly remapFailed?: boolean
  readonly remapPending?: boolean
}

/** An error that the driver wrote into the kernel's log. */
export interface Xid {
  readonly busId: string
  readonly code: number
}

/**
 * Errors that tell of the device, its memory, its links or its firmware, and not of the program that ran there. What programs
 * cause (13, 31, 43, 45, ...) tells of no device. Source: NVIDIA, "XID Errors", catalogue of codes, and "GPU Memory Error
 * Management", user visible statistics.
 */
const ofTheDevice: ReadonlyMap<number, string> = new Map([
  [48, "an uncorrectable memory error"],
  [62, "its micro-controller halted"],
  [64, "a row of memory could not be noted for remapping"],
  [74, "an error of its NVLink"],
  [79, "it has fallen off the bus"],
  [92, "a high rate of correctable memory errors"],
  [94, "a contained memory error"],
  [95, "an uncontained memory error"],
  [119, "its firmware does not answer"],
  [120, "its firmware failed"],
  [140, "an unrecovered memory error"],
  [171, "an uncorrectable error of its DRAM"],
  [172, "an uncorrectable error of its SRAM"]
])

/** The symptom that an error is, if it tells of the device. */
export const symptomOfXid = ({ code }: Xid): string | undefined => {
  const what = ofTheDevice.get(code)
  return what === undefined ? undefined : `Xid ${code}: ${what}`
}

/** `NVRM: Xid (PCI:0000:3b:00): 79, pid=..., GPU has fallen off the bus.`, as the driver writes it; anything else is no error of it. */
export const xidIn = (line: string): Xid | undefined => {
  const [, busId = "", code = ""] = /NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})[^)]*\): (\d+)/u.exec(line) ?? []
  return code === "" ? undefined : { busId: busIdOf(busId), code: Number(code) }
}

/** One way to write a bus id: the tool writes `00000000:3B:00.0`, the kernel `0000:3b:00`. */
export const busIdOf = (text: string): string => text.toLowerCase().replace(/\.[0-7]$/u, "").replace(/^0*([0-9a-f]{4}):/u, "$1:")

/** No data centre device is meant to run this hot: it slows itself down some degrees before. */
const hotC = 95

/** What speaks against a device, from what it says now and how many errors it had when it was looked at last. */
export const symptomOf = (now: GpuReading, eccBefore: number | undefined): string | undefined => {
  if (now.remapFailed === true) return "a row of its memory could not be remapped"
  if (now.remapPending === true) return "a row of its memory waits to be remapped: reset the device"
  if (now.eccUncorrected !== undefined && eccBefore !== undefined && now.eccUncorrected > eccBefore) return `${now.eccUncorrected - eccBefore} uncorrectable memory errors more`
  if (now.temperatureC !== undefined && now.temperatureC >= hotC) return `it is ${now.temperatureC} °C hot`
  return undefined
}

/** What the CUDA runtime says where it is likelier the device than the program. Source: CUDA Runtime API, error texts of cudaError_t. */
const ofTheRuntime = [
  "uncorrectable ECC error encountered",
  "hardware stack error",
  "unspecified launch failure",
  "CUDA-capable device(s) is/are busy or unavailable",
  "no CUDA-capable device is detected",
  "system not yet initialized",
  "GPU is lost"
] as const

/** The runtime's error with which work ended badly, if it is one of those. */
export const runtimeErrorIn = (words: string): string | undefined => ofTheRuntime.find((text) => words.includes(text))
