import { kinds, streamNames, type StreamName, subjectsOf } from "@millrace/schemas"
import { beatSubject, HOST_API_PREFIX, hostConsumer, hostHears, HOSTS_STREAM, hostWrites, intakeSubject, pulseSubject } from "./crossing.ts"
import type { Permissions } from "./jwt.ts"
import { type ServiceName, type ServiceRoom, services } from "./services.ts"

const ANSWER_MS_MAX = 5_000
/** A submission is answered once the log has it, which may take a while when the log is away. */
const APPEND_MS_MAX = 15_000
/** The object store's bucket: every service that keeps blobs uses this one. */
export const BLOBS_BUCKET = "blobs"
const BLOBS_STREAM = `OBJ_${BLOBS_BUCKET}`

/**
 * The inbox of a user: unguessable, because whoever knows it could aim a reply at it. A client is told
 * it (`inboxPrefix`) and may subscribe no other.
 */
export const inboxPrefix = (secretName: string): string => `_INBOX_${secretName}`

const inbox = (prefix: string) => `${prefix}.>`

/**
 * What one host may do: say its own facts and read the last of them, take and acknowledge what is placed
 * on it, ask for its lease, and hear how far access is. Nothing here names another host.
 */
export const hostPermissions = (hostId: string, inboxPrefix: string): Permissions => ({
  publish: [
    ...hostWrites(hostId),
    ...hostWrites(hostId).map((subject) => `${HOST_API_PREFIX}.DIRECT.GET.${HOSTS_STREAM}.${subject}`),
    ...hostHears.flatMap((stream) => [
      `${HOST_API_PREFIX}.CONSUMER.MSG.NEXT.${stream}.${hostConsumer(hostId)}`,
      `${HOST_API_PREFIX}.CONSUMER.INFO.${stream}.${hostConsumer(hostId)}`,
      `$JS.ACK.${stream}.${hostConsumer(hostId)}.>`
    ]),
    beatSubject(hostId)
  ],
  subscribe: [inbox(inboxPrefix), pulseSubject("access")]
})

/**
 * What one service may do: append to its own stream, read that and those it hears. No service creates,
 * changes, purges or deletes a stream, or deletes a message.
 */
export const servicePermissions = (service: ServiceName, inboxPrefix: string): Permissions => {
  const room: ServiceRoom = services[service]
  const { writes, hears } = room
  const reads = writes === undefined ? hears : [writes, ...hears]
  return {
    publish: [
      ...(writes === undefined ? [] : subjectsOf(kinds, writes)),
      pulseSubject(service),
      "$JS.API.INFO",
      ...reads.flatMap(reading),
      ...(room.keepsBlobs === undefined ? [] : keeping)
    ],
    subscribe: [
      inbox(inboxPrefix),
      pulseSubject("*"),
      ...(room.answersBeats === undefined ? [] : [beatSubject("*")]),
      ...(room.takesSubmissions === undefined ? [] : [intakeSubject("*")])
    ],
    ...(room.answersBeats === undefined && room.takesSubmissions === undefined ? {} : { answersWithinMs: room.takesSubmissions === undefined ? ANSWER_MS_MAX : APPEND_MS_MAX })
  }
}

/** Reading a stream: what it is, single messages, and consumers of one's own. */
const reading = (stream: StreamName): ReadonlyArray<string> => [
  `$JS.API.STREAM.INFO.${stream}`,
  `$JS.API.STREAM.MSG.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}`,
  `$JS.API.DIRECT.GET.${stream}.>`,
  `$JS.API.CONSUMER.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.INFO.${stream}.*`,
  `$JS.API.CONSUMER.NAMES.${stream}`,
  `$JS.API.CONSUMER.LIST.${stream}`,
  `$JS.API.CONSUMER.DELETE.${stream}.*`,
  `$JS.API.CONSUMER.RESET.${stream}.*`,
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
  `$JS.ACK.${stream}.>`
]

/** The object store: its chunks and their names, and the purge of one object's chunks when it is deleted. */
const keeping: ReadonlyArray<string> = [
  `$O.${BLOBS_BUCKET}.>`,
  `$JS.API.STREAM.INFO.${BLOBS_STREAM}`,
  `$JS.API.STREAM.MSG.GET.${BLOBS_STREAM}`,
  `$JS.API.STREAM.PURGE.${BLOBS_STREAM}`,
  `$JS.API.DIRECT.GET.${BLOBS_STREAM}`,
  `$JS.API.DIRECT.GET.${BLOBS_STREAM}.>`,
  `$JS.API.CONSUMER.CREATE.${BLOBS_STREAM}`,
  `$JS.API.CONSUMER.CREATE.${BLOBS_STREAM}.>`,
  `$JS.API.CONSUMER.INFO.${BLOBS_STREAM}.*`,
  `$JS.API.CONSUMER.DELETE.${BLOBS_STREAM}.*`,
  `$JS.API.CONSUMER.MSG.NEXT.${BLOBS_STREAM}.*`,
  `$JS.ACK.${BLOBS_STREAM}.>`
]

/** What somebody may do who submits over NATS: publish to the intake and hear its answers. The token inside says who it is. */
export const submitterPermissions = (inboxPrefix: string): Permissions => ({
  publish: [intakeSubject("*")],
  subscribe: [inbox(inboxPrefix)]
})

/** What provisioning may do: make streams and bring them up to date, and see whether they are. */
export const provisionerPermissions = (inboxPrefix: string): Permissions => ({
  publish: [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    ...[...streamNames, BLOBS_STREAM].flatMap((stream) => [
      `$JS.API.STREAM.CREATE.${stream}`,
      `$JS.API.STREAM.UPDATE.${stream}`,
      `$JS.API.STREAM.INFO.${stream}`
    ])
  ],
  subscribe: [inbox(inboxPrefix)]
})

/** What renews the hosts' account in the system's account: that one account's claims, and no other's. */
export const claimsPermissions = (hostsAccount: string, inboxPrefix: string): Permissions => ({
  publish: [`$SYS.REQ.ACCOUNT.${hostsAccount}.CLAIMS.UPDATE`, `$SYS.REQ.ACCOUNT.${hostsAccount}.CLAIMS.LOOKUP`],
  subscribe: [inbox(inboxPrefix)]
})
