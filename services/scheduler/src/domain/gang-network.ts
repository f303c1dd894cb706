import type { Request } from "@millrace/packing"
import type { AttemptId, GangPlace, JobSpec } from "@millrace/schemas"
import type { HostState } from "./world.ts"

/** What a host says of the networks that it can make: for gangs that share it, or for those of several hosts too. */
const offers = ["host", "hosts"] as const

/** As what the packing knows that, and the label in which hosts say it. Undefined: it makes none. */
export const networkOffered = (own: Readonly<Record<string, string>>): string | undefined => offers.find((offer) => offer === own["gang-network"])

/** What a gang that is to have a network of its own asks of each host. Only sandboxes have networks. */
export const networkAsked = ({ gang, runtime }: Pick<JobSpec, "gang" | "runtime">): NonNullable<Request["where"]> =>
  gang?.network !== "private"
    ? []
    : [{ label: "network", anyOf: runtime !== "sandbox" ? [] : gang.topology === "host" ? offers : ["hosts"] }]

/**
 * The network of a gang whose members go to these hosts, in the order of ranks; `id` is its name. One that does not say
 * whether it wants one gets it where all of the hosts can make it.
 */
export const networkOf = ({ gang, runtime }: Pick<JobSpec, "gang" | "runtime">, hosts: ReadonlyArray<HostState>, id: AttemptId): Pick<GangPlace, "network"> => {
  if (runtime !== "sandbox" || gang === undefined || gang.network === "none") return {}
  const labels = hosts.map(({ joined }) => joined?.capabilities.labels ?? {})
  if (new Set(hosts).size === 1) return networkOffered(labels[0]!) === undefined ? {} : { network: { id, hosts: hosts.map((host) => host.id) } }
  const at = labels.map((own) => networkOffered(own) === "hosts" ? own["gang-network-address"] : undefined)
  return at.every((one) => one !== undefined) ? { network: { id, hosts: at } } : {}
}
