/** Hosts that share what a gang's members must share, such as a fabric. */
export interface Domain<H> {
  readonly name: string
  readonly hosts: ReadonlyArray<H>
}

/** Hosts by what they share; those that do not say share it with nobody. In the order of names, and of hosts as they came. */
export const domainsBy = <H>(hosts: ReadonlyArray<H>, nameOf: (host: H) => string | undefined): ReadonlyArray<Domain<H>> => {
  const domains = new Map<string, Array<H>>()
  for (const host of hosts) {
    const name = nameOf(host)
    if (name !== undefined) domains.set(name, [...domains.get(name) ?? [], host])
  }
  return [...domains].sort(([left], [right]) => (left < right ? -1 : 1)).map(([name, among]) => ({ name, hosts: among }))
}

/**
 * Domains where so many members could go by their hosts' room, the one that would be left with the least first: large
 * domains stay whole for large gangs. Of equals the first by name.
 */
export const tightestFirst = <H>(domains: ReadonlyArray<Domain<H>>, members: number, roomFor: (host: H) => number): ReadonlyArray<Domain<H>> =>
  domains
    .map((domain) => ({ domain, left: domain.hosts.reduce((sum, host) => sum + roomFor(host), 0) - members }))
    .filter(({ left }) => left >= 0)
    .sort((one, other) => one.left - other.left || (one.domain.name < other.domain.name ? -1 : 1))
    .map(({ domain }) => domain)

/**
 * Hosts that could take a whole gang the soonest, if nothing more began on them: in each domain those that are empty
 * first, until there is room for all; and the domain that is ready first. Of equals the first by name.
 */
export const soonestWhole = <H>(domains: ReadonlyArray<Domain<H>>, members: number, roomWhenEmpty: (host: H) => number, emptyAtMs: (host: H) => number): ReadonlyArray<H> | undefined => {
  let best: { readonly hosts: ReadonlyArray<H>; readonly atMs: number } | undefined
  for (const { hosts } of domains) {
    const chosen: Array<H> = []
    let room = 0
    let atMs = 0
    const byEnd = hosts.map((host, at) => ({ host, at, endsAtMs: emptyAtMs(host) })).sort((left, right) => (left.endsAtMs === right.endsAtMs ? left.at - right.at : left.endsAtMs - right.endsAtMs))
    for (const { endsAtMs, host } of byEnd) {
      if (room >= members) break
      if (roomWhenEmpty(host) === 0) continue
      chosen.push(host)
      room += roomWhenEmpty(host)
      atMs = Math.max(atMs, endsAtMs)
    }
    if (room >= members && (best === undefined || atMs < best.atMs)) best = { hosts: chosen, atMs }
  }
  return best?.hosts
}
