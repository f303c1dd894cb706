import { askedKind, gpuKind, satisfies } from "./gpu-name.ts"
import type { Buyable, PlanInputs, Quota, WorkClass } from "./inputs.ts"
import { within } from "./place.ts"
import type { Plan } from "./plan.ts"

/**
 * Every promise of a plan that it breaks, in words; none for a sound one. Reads nothing but the inputs and the plan's own targets and parts, so
 * it shares no mistake with whatever chose them.
 */
export const faultsOf = (inputs: PlanInputs, plan: Plan, shareFloorGpus: number): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const byKey = new Map(inputs.columns.map((column) => [keyOf(column), column]))
  const classes = new Map(inputs.classes.map((one) => [one.id, one]))
  const placed = new Map<string, number>()
  for (const target of plan.targets) {
    const column = byKey.get(keyOf(target))
    if (column === undefined) {
      faults.push(`${keyOf(target)} is no column of the inputs`)
      continue
    }
    if (target.wanted > column.stock + column.idle + column.rooms.length) faults.push(`${target.wanted} of ${keyOf(target)}, which has ${column.stock} and runs ${column.idle + column.rooms.length}`)
    if (target.wanted < column.rooms.length) faults.push(`${keyOf(target)} would lose machines on which something runs`)
    if (!column.prepaid && column.pricePicoPerSecond <= 0n && target.wanted > column.rooms.length) faults.push(`${keyOf(target)} has no price`)
    faults.push(...target.parts.flatMap((part) => partFaults(classes.get(part.class), part.units, column)))
    faults.push(...roomFaults(target.parts.flatMap(({ class: id, units }) => (classes.has(id) ? [{ needs: classes.get(id)!.needs, units }] : [])), column, target.wanted))
    for (const part of target.parts) placed.set(part.class, (placed.get(part.class) ?? 0) + part.units)
  }
  for (const { id, units } of inputs.classes) {
    const missing = plan.unmet.find((one) => one.class === id)?.units ?? 0
    if ((placed.get(id) ?? 0) + missing < units) faults.push(`${units - missing - (placed.get(id) ?? 0)} units of ${id} are neither placed nor told as unmet`)
  }
  for (const { class: id, reason } of plan.unmet) if (reason === "") faults.push(`${id} is unmet without a reason`)
  return [...faults, ...limitFaults(inputs, plan, byKey, shareFloorGpus)]
}

const keyOf = ({ column: { machineType, market, offer, region, zone }, provider }: Pick<Buyable, "provider" | "column">): string =>
  [provider, region, zone ?? "", machineType, market, offer ?? ""].join("/")

const partFaults = (one: WorkClass | undefined, units: number, column: Buyable): ReadonlyArray<string> => {
  if (one === undefined) return []
  const { container, fabric, gpuMemoryMib, gpuModel, provider } = column
  const { gpus, gpuMilli = 0 } = one.needs
  const faults: Array<string> = []
  const fault = (broken: boolean, what: string): void => void (broken && faults.push(`${one.id} on ${keyOf(column)}: ${what}`))
  const offered = gpuModel === undefined ? undefined : gpuKind(gpuModel, gpuMemoryMib === undefined ? undefined : gpuMemoryMib / 1024)
  fault((gpus > 0 || gpuMilli > 0) && one.gpuModels.length > 0 && (offered === undefined || !one.gpuModels.some((name) => satisfies(offered, askedKind(name)))), `${gpuModel ?? "no GPU"} is not what it asks for`)
  fault(!one.spot && column.column.market === "spot", "it does not tolerate spot")
  fault(!one.containers && container, "it does not take containers")
  fault(!within(column.column.region, one.regions), "outside of its regions")
  fault(one.providers.length > 0 && !one.providers.includes(provider), "not one of its providers")
  fault(one.gang > 1 && units % one.gang !== 0 && units !== one.units, `a gang of ${one.gang} is torn apart`)
  fault(one.gang > 1 && one.near === "zone" && column.column.zone === undefined, "its gang wants one zone, and this names none")
  fault(one.gang > 1 && one.near === undefined && !fabric && gpus * one.gang > column.resources.gpus, "its gang lies on machines that nothing joins")
  return faults
}

const roomFaults = (parts: ReadonlyArray<{ readonly needs: WorkClass["needs"]; readonly units: number }>, column: Buyable, wanted: number): ReadonlyArray<string> =>
  (["gpus", "cpuMilli", "memoryMib"] as const).flatMap((name) => {
    const needed = parts.reduce((sum, { needs, units }) => sum + needs[name] * units, 0)
    const there = (wanted - column.rooms.length) * column.resources[name] + column.rooms.reduce((sum, room) => sum + room[name], 0)
    return needed > there ? [`${keyOf(column)} has ${there} ${name}, its work needs ${needed}`] : []
  })

const limitFaults = (inputs: PlanInputs, plan: Plan, byKey: ReadonlyMap<string, Buyable>, shareFloorGpus: number): ReadonlyArray<string> => {
  const wanted = plan.targets.flatMap((target) => (byKey.has(keyOf(target)) ? [{ column: byKey.get(keyOf(target))!, machines: target.wanted }] : []))
  const sum = (of: (column: Buyable) => boolean, weight: (column: Buyable) => number): number =>
    wanted.filter(({ column }) => of(column)).reduce((total, { column, machines }) => total + machines * weight(column), 0)
  /** What stays because something runs on it may be over a limit that came later; nothing may be added to it then. */
  const stays = (of: (column: Buyable) => boolean, weight: (column: Buyable) => number): number =>
    inputs.columns.filter(of).reduce((total, column) => total + column.rooms.length * weight(column), 0)
  const over = (name: string, most: number, of: (column: Buyable) => boolean, weight: (column: Buyable) => number): ReadonlyArray<string> =>
    sum(of, weight) > Math.max(most, stays(of, weight)) * (1 + 1e-9) ? [`${name}: ${sum(of, weight)} of ${most}`] : []
  const gpusOf = ({ resources }: Buyable) => resources.gpus
  const coresOf = ({ resources }: Buyable) => resources.cpuMilli / 1000
  const busyGpus = inputs.columns.reduce((total, { resources, rooms }) => total + resources.gpus * rooms.length, 0)
  const allGpus = busyGpus + inputs.classes.reduce((total, { gang, needs, units }) => total + Math.ceil(units / Math.max(1, gang)) * Math.max(1, gang) * (needs.gpus + (needs.gpuMilli ?? 0) / 1000), 0) + inputs.buffers.reduce((total, { gpus }) => total + gpus, 0)
  return [
    ...inputs.quotas.flatMap((quota) => [
      ...(quota.machinesMax === undefined ? [] : over(`quota of ${quota.provider}`, quota.machinesMax, underQuota(quota), () => 1)),
      ...(quota.gpusMax === undefined ? [] : over(`GPU quota of ${quota.provider}`, quota.gpusMax, underQuota(quota), gpusOf)),
      ...(quota.coresMax === undefined ? [] : over(`quota of cores at ${quota.provider}`, quota.coresMax, underQuota(quota), coresOf))
    ]),
    ...inputs.shares.flatMap(({ permilleMax, provider }) => over(`share of ${provider}`, Math.max(shareFloorGpus, (allGpus * permilleMax) / 1000 + 1), (column) => column.provider === provider, gpusOf)),
    ...(inputs.machinesMax === undefined ? [] : over("cap on machines", inputs.machinesMax, () => true, () => 1)),
    ...(inputs.spendPicoPerHourMax === undefined ? [] : over("cap on spend", Number(inputs.spendPicoPerHourMax), ({ prepaid }) => !prepaid, ({ pricePicoPerSecond }) => Number(pricePicoPerSecond) * 3600))
  ]
}

const underQuota = ({ gpuModel, machineType, market, provider, region }: Quota) => (column: Buyable): boolean =>
  column.provider === provider &&
  (region === undefined || column.column.region === region) &&
  (machineType === undefined || column.column.machineType === machineType || (machineType.endsWith("*") && column.column.machineType.startsWith(machineType.slice(0, -1)))) &&
  (market === undefined || column.column.market === market) &&
  (gpuModel === undefined || (column.gpuModel !== undefined && satisfies(gpuKind(column.gpuModel, column.gpuMemoryMib === undefined ? undefined : column.gpuMemoryMib / 1024), askedKind(gpuModel))))
