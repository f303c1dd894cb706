import { Schema } from "effect"
import { type GpuReading, symptomOf, symptomOfXid, type Xid } from "./gpu-symptoms.ts"

/** What a host remembers of one device. It outlives the agent. */
export const GpuDevice = Schema.Struct({
  uuid: Schema.NonEmptyString,
  index: Schema.Int,
  busId: Schema.String,
  eccUncorrected: Schema.optionalKey(Schema.Int),
  /** Jobs that ended one after the other with the runtime's errors there: `<workspace>/<job>`. */
  badEnds: Schema.Array(Schema.String),
  suspicion: Schema.optionalKey(Schema.Struct({ symptom: Schema.NonEmptyString, sinceMs: Schema.Int })),
  /** How often it was suspected or failed its test since it was last well for a day: each doubles the wait for the next test. */
  lapses: Schema.Int,
  /** When it was cleared, or is tested next. */
  atMs: Schema.Int
})
export type GpuDevice = typeof GpuDevice.Type

/** What a host remembers of its devices, by their number. */
export const GpuHealth = Schema.Struct({
  devices: Schema.Array(GpuDevice),
  /** How often in a row the tool gave no answer. */
  silent: Schema.Int,
  /** The last record of the kernel's log that was read, in this boot. */
  kernel: Schema.optionalKey(Schema.Struct({ bootId: Schema.String, sequence: Schema.Int }))
})
export type GpuHealth = typeof GpuHealth.Type

/** What is to be said. */
export type GpuWord = { readonly _tag: "GpuSuspected"; readonly gpu: number; readonly symptom: string } | { readonly _tag: "GpuCleared"; readonly gpu: number; readonly test: string }

export interface Judged {
  readonly health: GpuHealth
  readonly words: ReadonlyArray<GpuWord>
}

/** One look at all devices. Without readings the tool gave no answer, and `lost` is the device that it names in its complaint, if any. */
export interface GpuLook {
  readonly readings: ReadonlyArray<GpuReading> | undefined
  readonly complaint?: string
  readonly lost?: string
  readonly xids: ReadonlyArray<Xid>
}

export const noHealth: GpuHealth = { devices: [], silent: 0 }

/** The tool may be slow once. */
const silentMax = 3
const badEndsMax = 3
/** What work prints is its own word: those of one workspace could put a device away with it. */
const accusersMin = 2
const testMsMin = 60_000
const testMsMax = 3_600_000
/** Well for so long, it is as good as new. */
const wellMs = 86_400_000

/**
 * Takes up what was remembered, with the devices that are here now: a device is told by its uuid, for its number may be another
 * after a boot. What is suspected is said again: whoever was to hear it may not have.
 */
export const takenUp = (before: GpuHealth, readings: ReadonlyArray<GpuReading>, nowMs: number): Judged => {
  const words: Array<GpuWord> = []
  const devices = readings.map((reading): GpuDevice => {
    const known = before.devices.find(({ uuid }) => uuid === reading.uuid)
    if (known?.suspicion !== undefined) {
      words.push({ _tag: "GpuSuspected", gpu: reading.index, symptom: known.suspicion.symptom })
    }
    return known === undefined
      ? { uuid: reading.uuid, index: reading.index, busId: reading.busId, badEnds: [], lapses: 0, atMs: nowMs, ...eccOf(reading) }
      : { ...known, index: reading.index, busId: reading.busId }
  })
  const elsewhere = before.devices.filter(({ index, suspicion }) => suspicion !== undefined && !devices.some((device) => device.suspicion !== undefined && device.index === index))
  return {
    health: { ...before, devices, silent: 0 },
    words: [...elsewhere.map(({ index }): GpuWord => ({ _tag: "GpuCleared", gpu: index, test: "another device has its number now" })), ...words]
  }
}

/** What one more look shows. */
export const looked = (before: GpuHealth, look: GpuLook, nowMs: number): Judged => {
  const silent = look.readings === undefined ? before.silent + 1 : 0
  return judged({ ...before, silent }, nowMs, (device) => {
    const xid = look.xids.filter(({ busId }) => busId === device.busId).map(symptomOfXid).find((symptom) => symptom !== undefined)
    const now = look.readings?.find(({ uuid }) => uuid === device.uuid)
    const symptom = xid ?? (now !== undefined
      ? symptomOf(now, device.eccUncorrected)
      : look.readings !== undefined || look.lost === device.busId
      ? `its driver no longer knows it${look.complaint === undefined ? "" : `: ${look.complaint}`}`
      : silent >= silentMax && look.lost === undefined
      ? `its driver's tool gave no answer ${silent} times: ${look.complaint ?? "it said nothing"}`
      : undefined)
    return { device: now === undefined ? device : { ...device, ...eccOf(now) }, symptom }
  })
}

/** Work ended that had these devices. Only ends of different jobs, one after the other, and of more than one workspace, speak against a device. */
export const ended = (before: GpuHealth, end: { readonly gpus: ReadonlyArray<number>; readonly workspace: string; readonly jobId: string; readonly well: boolean; readonly error: string | undefined }, nowMs: number): Judged =>
  judged(before, nowMs, (device) => {
    if (!end.gpus.includes(device.index) || (!end.well && end.error === undefined)) return { device, symptom: undefined }
    const name = `${end.workspace}/${end.jobId}`
    // Of one that was noted before workspaces were, nobody knows whose it was.
    const noted = device.badEnds.filter((one) => one.includes("/"))
    const badEnds = end.well ? [] : noted.includes(name) ? noted : [...noted, name].slice(-badEndsMax)
    const accusers = new Set(badEnds.map((one) => one.slice(0, one.indexOf("/")))).size
    const speaks = badEnds.length >= badEndsMax && accusers >= accusersMin
    return { device: { ...device, badEnds }, symptom: speaks ? `${badEndsMax} jobs of ${accusers} workspaces after each other ended there with "${end.error}"` : undefined }
  })

/** Devices that are to be tested now: suspected, rested, and with nobody's work on them. */
export const dueForTest = ({ devices }: GpuHealth, held: ReadonlySet<number>, nowMs: number): ReadonlyArray<GpuDevice> =>
  devices.filter(({ atMs, index, suspicion }) => suspicion !== undefined && atMs <= nowMs && !held.has(index))

/** A suspected device was tested. One that failed rests for twice as long as before. */
export const tested = (before: GpuHealth, uuid: string, outcome: { readonly passed: boolean; readonly test: string }, nowMs: number): Judged => {
  const words: Array<GpuWord> = []
  const devices = before.devices.map((device): GpuDevice => {
    if (device.uuid !== uuid || device.suspicion === undefined) return device
    if (!outcome.passed) return { ...device, lapses: device.lapses + 1, atMs: nowMs + restMs(device.lapses + 1) }
    words.push({ _tag: "GpuCleared", gpu: device.index, test: outcome.test })
    const { suspicion: _, ...rest } = device
    return { ...rest, badEnds: [], atMs: nowMs }
  })
  return { health: { ...before, devices }, words }
}

/** How long after its n-th lapse a device is tested. */
const restMs = (lapses: number): number => Math.min(testMsMax, testMsMin * 2 ** Math.max(0, lapses - 1))

const judged = (before: GpuHealth, nowMs: number, judge: (device: GpuDevice) => { readonly device: GpuDevice; readonly symptom: string | undefined }): Judged => {
  const words: Array<GpuWord> = []
  const devices = before.devices.map((known): GpuDevice => {
    const { device, symptom } = judge(known)
    if (symptom === undefined) return device
    // What shows while it is suspected puts its test off; it was said.
    if (device.suspicion !== undefined) return { ...device, atMs: Math.max(device.atMs, nowMs + restMs(device.lapses)) }
    const lapses = (nowMs - device.atMs >= wellMs ? 0 : device.lapses) + 1
    words.push({ _tag: "GpuSuspected", gpu: device.index, symptom })
    return { ...device, suspicion: { symptom, sinceMs: nowMs }, lapses, atMs: nowMs + restMs(lapses) }
  })
  return { health: { ...before, devices }, words }
}

const eccOf = ({ eccUncorrected }: GpuReading): Pick<GpuDevice, "eccUncorrected"> => (eccUncorrected === undefined ? {} : { eccUncorrected })
