import type { Capabilities, PlacementMade, Resources } from "@millrace/schemas"
import type { Remembered } from "./attempt.ts"

/** All of one device, in its thousandths. */
const whole = 1000

type Word = { readonly reason: "no_room" | "warrant_invalid"; readonly detail: string }

/** What each device is asked for. */
const shareOf = ({ gpuMilli = 0 }: Resources): number => (gpuMilli > 0 ? gpuMilli : whole)

/**
 * Why the devices that a placement names cannot be given to it: the host has none of that number, they are not as
 * many as it asks for, or work that has begun holds too much of one. Undefined when nothing stands against them.
 */
export const devicesRefused = (
  made: PlacementMade,
  { attempts, capabilities }: { readonly capabilities: Capabilities; readonly attempts: ReadonlyMap<unknown, Remembered> }
): Word | undefined => {
  const { gpus: named = [], spec: { resources }, warrant } = made
  const wanted = (resources.gpuMilli ?? 0) > 0 ? 1 : resources.gpus
  if (wanted === 0) return undefined
  if (capabilities.gpus.length === 0) return { reason: "no_room", detail: "it asks for a GPU, and this host has none to give" }
  if (new Set(named).size !== wanted || named.length !== wanted) {
    return { reason: "warrant_invalid", detail: `it asks for ${wanted} GPUs, and ${named.length === 0 ? "no devices are" : `${named.join(", ")} ${named.length === 1 ? "is" : "are"}`} named` }
  }
  const warranted = warrant.gpus ?? []
  const unwarranted = named.find((device) => !warranted.includes(device))
  if (unwarranted !== undefined) return { reason: "warrant_invalid", detail: `its warrant does not name device ${unwarranted}` }
  const missing = named.find((device) => !capabilities.gpus.some(({ index }) => index === device))
  if (missing !== undefined) return { reason: "no_room", detail: `this host has no device ${missing}` }
  const held = heldOf(attempts.values())
  const short = named.find((device) => (held.get(device) ?? 0) + shareOf(resources) > whole)
  return short === undefined ? undefined : { reason: "no_room", detail: `${whole - held.get(short)!} thousandths of device ${short} are free` }
}

const heldOf = (attempts: Iterable<Remembered>): ReadonlyMap<number, number> => {
  const held = new Map<number, number>()
  for (const remembered of attempts) {
    if (remembered.state !== "begun" && remembered.state !== "running") continue
    for (const device of remembered.made.gpus ?? []) held.set(device, (held.get(device) ?? 0) + shareOf(remembered.made.spec.resources))
  }
  return held
}
