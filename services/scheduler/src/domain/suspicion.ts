import type { HostState, World } from "./world.ts"

/** Of all GPUs no more than a tenth is in quarantine, and one of few: a symptom that is everywhere is likelier the test's own. */
const shareMax = 0.1

/**
 * Puts suspected GPUs in quarantine, the earliest suspected first, as many as the brake lets: the others go on
 * taking work until there are more GPUs, or some of those before them are cleared.
 */
export const devicesChanged = (world: World): void => {
  const { devices, fleet, standstill, suspecting } = world.index
  if (suspecting.size === 0) return
  const most = Math.max(1, Math.floor(devices * shareMax))
  const suspects = [...suspecting].flatMap((host) => [...host.suspected].map(([gpu, sequence]) => ({ host, gpu, sequence })))
  const quarantined = new Map<HostState, Set<number>>()
  for (const { gpu, host } of suspects.sort((left, right) => left.sequence - right.sequence || left.gpu - right.gpu).slice(0, most)) {
    quarantined.set(host, (quarantined.get(host) ?? new Set()).add(gpu))
  }
  for (const host of [...suspecting]) {
    host.quarantined = quarantined.get(host) ?? new Set()
    fleet.suspectsChanged(host)
    standstill.freed(host)
    if (host.suspected.size === 0) suspecting.delete(host)
  }
}
