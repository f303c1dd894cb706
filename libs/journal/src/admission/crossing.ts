import { filterOf, type Kind, kinds, type StreamName, subjectsOf, subjectText } from "@millrace/schemas"

/**
 * Where hosts and services meet. Hosts live in an account of their own, because in a shared one a host
 * could aim the reply of its own publish at foreign subjects, where JetStream answers with the server's
 * authority. Only the subjects below cross, each as a service import, so a reply never does.
 */

/** Stands before JetStream's API subjects in the hosts' account; the API itself would be the account's own. */
export const HOST_API_PREFIX = "HUB.API"

/** The stream that hosts write. */
export const HOSTS_STREAM: StreamName = "HOSTS"

/** Where a host asks that its lease goes on; the scheduler answers. */
export const beatSubject = (host: string): string => `beat.${host}`

/** Where somebody with a NATS connection publishes a job for a workspace, instead of sending it over HTTP. */
export const intakeSubject = (workspace: string): string => `submit.${workspace}`

/** Where a service says every moment how far it is; services and hosts listen. */
export const pulseSubject = (service: string): string => `pulse.${service}`

/** The name of a host's consumer, in each stream that it hears. */
export const hostConsumer = (hostId: string): string => `host-${hostId}`

/** What a host hears: facts of host scope that services write. */
const heard: ReadonlyArray<Kind> = (kinds as ReadonlyArray<Kind>).filter(({ scope, stream }) => scope === "host" && stream !== HOSTS_STREAM)

/** The streams that hosts hear. */
export const hostHears: ReadonlyArray<StreamName> = [...new Set(heard.map(({ stream }) => stream))]

/** What one host hears of one stream. */
export const hostFilters = (stream: StreamName, hostId: string): ReadonlyArray<string> =>
  heard.filter((kind) => kind.stream === stream).map((kind) => filterOf(kind, hostId))

/** The subjects that one host writes. */
export const hostWrites = (hostId: string): ReadonlyArray<string> =>
  (kinds as ReadonlyArray<Kind>).filter(({ stream }) => stream === HOSTS_STREAM).map((kind) => {
    if (kind.scope === "host") return filterOf(kind, hostId)
    if (kind.story === "host" && kind.only !== undefined) return subjectText({ kind: kind.kind, scope: kind.only, story: hostId })
    throw new Error(`hosts cannot write ${kind.kind}: no token of its subject names the host, so permissions could not tell hosts apart`)
  })

export interface Crossing {
  readonly name: string
  /** The subject in the services' account. */
  readonly cell: string
  /** The subject in the hosts' account. */
  readonly hosts: string
  /** A service is asked, a stream is told. */
  readonly type: "service" | "stream"
  readonly response?: "Singleton" | "Stream"
}

const api = (name: string, subject: string, response: "Singleton" | "Stream"): Crossing => ({
  name,
  cell: `$JS.API.${subject}`,
  hosts: `${HOST_API_PREFIX}.${subject}`,
  type: "service",
  response
})

/**
 * Everything that crosses, as wildcards written once: admitting a host changes no account. From here on
 * a host's own permissions are the wall between it and the others.
 */
export const crossings: ReadonlyArray<Crossing> = [
  ...subjectsOf(kinds, HOSTS_STREAM).map((subject): Crossing => ({
    name: `facts ${subject}`, cell: subject, hosts: subject, type: "service", response: "Singleton"
  })),
  // The last fact on an own subject, which a host needs to know what its next one must follow.
  api("last facts", `DIRECT.GET.${HOSTS_STREAM}.>`, "Singleton"),
  ...hostHears.flatMap((stream): ReadonlyArray<Crossing> => [
    api(`next of ${stream}`, `CONSUMER.MSG.NEXT.${stream}.*`, "Stream"),
    api(`consumer of ${stream}`, `CONSUMER.INFO.${stream}.*`, "Singleton"),
    { name: `acks of ${stream}`, cell: `$JS.ACK.${stream}.>`, hosts: `$JS.ACK.${stream}.>`, type: "service", response: "Singleton" }
  ]),
  { name: "beats", cell: beatSubject("*"), hosts: beatSubject("*"), type: "service", response: "Singleton" },
  { name: "pulse of access", cell: pulseSubject("access"), hosts: pulseSubject("access"), type: "stream" }
]
