/** Devices that one host can have: the width of every per-device array here. */
export const devicesMax = 16

/** A whole device, in thousandths of itself. */
export const wholeMilli = 1000

/** What a host has in all, before anything is taken from it. */
export interface Host {
  /** The order of ids (by code unit) is the order in which ties are broken. */
  readonly id: string
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly diskMib: number
  /** Devices 0 to `gpus - 1`; at most `devicesMax`. */
  readonly gpus: number
  readonly gpuModel?: string | undefined
  /** Memory of one device. */
  readonly gpuMemoryMib?: number | undefined
  /** Bits of the caller's choosing, at most 31: a request goes only to hosts that have all of its own. */
  readonly kinds: number
  /** Region, provider, zone and so on, by name. */
  readonly labels?: Readonly<Record<string, string>> | undefined
  /** Whether it takes anything new. */
  readonly open: boolean
}

/** What was taken from a host for one task; handed back, it restores exactly that. */
export interface Placed {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly diskMib: number
  /** How much of each device in `gpus`: 1000 is the whole of it, 0 where there are none. */
  readonly gpuMilli: number
  readonly gpus: ReadonlyArray<number>
}

/** What is free on a host now. Less than nothing where it was made smaller under what it holds. */
export interface Free {
  readonly cpuMilli: number
  readonly memoryMib: number
  readonly diskMib: number
  /** Devices of which nothing is taken. */
  readonly gpus: number
  /** Of all devices together. */
  readonly gpuMilli: number
  /** Of the device of which most is free. */
  readonly largestMilli: number
}

/** Hosts of one class answer every question about kinds, models and labels alike. */
export interface HostClass {
  readonly gpuModel: string | undefined
  readonly gpuMemoryMib: number
  readonly kinds: number
  readonly labels: Readonly<Record<string, string>>
}

/** Numbers classes in the order in which they are first seen. */
export class HostClasses {
  readonly all: Array<HostClass> = []
  readonly #numbers = new Map<string, number>()

  numberOf({ gpuMemoryMib = 0, gpuModel, kinds, labels = {} }: Host): number {
    const sorted = Object.entries(labels).sort(([left], [right]) => (left < right ? -1 : 1))
    const key = JSON.stringify([gpuModel ?? null, gpuMemoryMib, kinds, sorted])
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    this.#numbers.set(key, this.all.length)
    this.all.push({ gpuModel, gpuMemoryMib, kinds, labels: Object.fromEntries(sorted) })
    return this.all.length - 1
  }
}
