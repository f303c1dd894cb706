import type { StreamName } from "@millrace/schemas"

export interface ServiceRoom {
  /** The stream that this service alone writes. */
  readonly writes?: StreamName
  /** The streams that it reads besides its own. */
  readonly hears: ReadonlyArray<StreamName>
  /** Answers hosts that ask for their lease. */
  readonly answersBeats?: true
  /** Takes what people publish instead of sending it over HTTP. */
  readonly takesSubmissions?: true
  /** Keeps bytes in the JetStream object store. */
  readonly keepsBlobs?: true
}

const all: ReadonlyArray<StreamName> = ["GATEWAY", "SCHEDULER", "HOSTS", "BROKER", "SNAPSHOTS", "ACCESS", "METERING"]
const besides = (own: StreamName) => all.filter((stream) => stream !== own)

/** Who writes and who hears what. Permissions are written from this table. */
export const services = {
  gateway: { writes: "GATEWAY", hears: besides("GATEWAY"), takesSubmissions: true, keepsBlobs: true },
  scheduler: { writes: "SCHEDULER", hears: besides("SCHEDULER"), answersBeats: true },
  broker: { writes: "BROKER", hears: ["SCHEDULER", "HOSTS", "ACCESS", "METERING"] },
  snapshots: { writes: "SNAPSHOTS", hears: ["GATEWAY", "SCHEDULER", "HOSTS", "ACCESS"], keepsBlobs: true },
  access: { writes: "ACCESS", hears: besides("ACCESS") },
  metering: { writes: "METERING", hears: besides("METERING"), keepsBlobs: true },
  /** Reads everything and writes nothing: `millrace events`, `millrace replay`, projections run elsewhere. */
  reader: { hears: all }
} as const satisfies Readonly<Record<string, ServiceRoom>>

export type ServiceName = keyof typeof services
