import { type Decider, facts, namedId, nothing } from "@millrace/decider"
import type { AskId, Digest, EnrolmentOpened, HostAdmitted, HostDismissed, HostId, Principal, WorkspaceName } from "@millrace/schemas"
import { Result, Schema } from "effect"

export type AdmissionFact = EnrolmentOpened | HostAdmitted | HostDismissed

/** No such one-time key was opened, it has been used by another host, or its time is over. */
export class KeyRefused extends Schema.TaggedError<KeyRefused>()("KeyRefused", {
  reason: Schema.Literals(["unknown", "used", "expired"])
}) {}

/** No host of the cell has this key, or it was dismissed. */
export class HostUnknown extends Schema.TaggedError<HostUnknown>()("HostUnknown", {}) {}

/** Who may join, and who has. Changed in place by `evolve` alone. */
export interface Roster {
  readonly open: Map<string, { readonly workspace: WorkspaceName; readonly expiresAtMs: number }>
  readonly used: Map<string, HostId>
  readonly hosts: Map<HostId, { readonly publicKey: string; readonly workspace?: WorkspaceName; readonly dismissed: boolean }>
}

export const emptyRoster = (): Roster => ({ open: new Map(), used: new Map(), hosts: new Map() })

export type AdmissionCommand =
  | { readonly _tag: "Open"; readonly workspace: WorkspaceName; readonly oneTimeKeyDigest: Digest; readonly openedBy: Principal; readonly expiresAtMs: number; readonly answers?: AskId }
  | { readonly _tag: "Enrol"; readonly oneTimeKeyDigest: Digest; readonly publicKey: string; readonly atMs: number }
  | { readonly _tag: "Dismiss"; readonly hostId: HostId; readonly dismissedBy: Principal; readonly cause: string; readonly answers?: AskId }

/** A host's id follows from its key: whoever holds the key is the host. */
export const hostIdOf = (publicKey: string): HostId => namedId<HostId>("hst", publicKey)

/** Who joins the cell: each one-time key admits one host, and telling it again by that host is no second use. */
export const AdmissionDecider: Decider<Roster, AdmissionCommand, AdmissionFact, KeyRefused | HostUnknown> = {
  get initial() {
    return emptyRoster()
  },
  decide: (roster, command) => {
    switch (command._tag) {
      case "Open": {
        const { answers, expiresAtMs, oneTimeKeyDigest, openedBy, workspace } = command
        return roster.open.has(oneTimeKeyDigest)
          ? nothing
          : facts({ _tag: "EnrolmentOpened", workspace, oneTimeKeyDigest, openedBy, expiresAtMs, ...(answers === undefined ? {} : { answers }) })
      }
      case "Enrol": {
        const { atMs, oneTimeKeyDigest, publicKey } = command
        const hostId = hostIdOf(publicKey)
        const user = roster.used.get(oneTimeKeyDigest)
        if (user === hostId && roster.hosts.get(hostId)?.dismissed === false) return nothing
        if (user !== undefined) return Result.fail(new KeyRefused({ reason: "used" }))
        const opened = roster.open.get(oneTimeKeyDigest)
        if (opened === undefined) return Result.fail(new KeyRefused({ reason: "unknown" }))
        if (opened.expiresAtMs <= atMs) return Result.fail(new KeyRefused({ reason: "expired" }))
        return facts({ _tag: "HostAdmitted", hostId, publicKey, admittedBy: "service:access" as Principal, oneTimeKeyDigest })
      }
      case "Dismiss": {
        const { answers, cause, dismissedBy, hostId } = command
        const host = roster.hosts.get(hostId)
        if (host === undefined) return Result.fail(new HostUnknown())
        return host.dismissed ? nothing : facts({ _tag: "HostDismissed", hostId, publicKey: host.publicKey, dismissedBy, cause, ...(answers === undefined ? {} : { answers }) })
      }
    }
  },
  evolve: (roster, fact) => {
    switch (fact._tag) {
      case "EnrolmentOpened":
        roster.open.set(fact.oneTimeKeyDigest, { workspace: fact.workspace, expiresAtMs: fact.expiresAtMs })
        return roster
      case "HostAdmitted": {
        const workspace = roster.open.get(fact.oneTimeKeyDigest)?.workspace
        roster.used.set(fact.oneTimeKeyDigest, fact.hostId)
        roster.hosts.set(fact.hostId, { publicKey: fact.publicKey, dismissed: false, ...(workspace === undefined ? {} : { workspace }) })
        return roster
      }
      case "HostDismissed":
        roster.hosts.set(fact.hostId, { ...roster.hosts.get(fact.hostId), publicKey: fact.publicKey, dismissed: true })
        return roster
    }
  }
}
