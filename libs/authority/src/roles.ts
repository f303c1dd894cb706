import type { ActionPattern, Role } from "@millrace/schemas"

const given: Readonly<Record<Role, ReadonlyArray<string>>> = {
  owner: ["*"],
  manager: [
    "job.*", "session.*", "snapshot.*", "blob.*", "trigger.*", "event.*", "grant.*", "host.*", "capacity.*", "budget.*",
    "principal.read", "decision.read", "usage.read", "log.read"
  ],
  member: [
    "job.*", "session.*", "snapshot.*", "blob.*", "trigger.*", "event.*", "grant.issue", "grant.delegate", "grant.read",
    "usage.read", "budget.read", "host.read", "capacity.read"
  ],
  viewer: ["job.read", "snapshot.read", "trigger.read", "grant.read", "usage.read", "budget.read", "host.read", "capacity.read"],
  contributor: ["job.submit", "job.read", "job.cancel", "blob.put", "snapshot.read", "event.tell"],
  billing_viewer: ["usage.read", "budget.read"],
  auditor: [
    "decision.read", "grant.read", "principal.read", "job.read", "snapshot.read", "trigger.read", "usage.read", "budget.read",
    "host.read", "capacity.read", "log.read"
  ],
  approver: ["grant.read", "decision.read"],
  service: ["job.submit", "job.read", "job.cancel", "blob.put", "event.tell", "trigger.read", "snapshot.read"],
  operator: ["cell.*", "capacity.*", "host.*"]
}

/**
 * What each role may do of itself, anywhere in its workspace. Who may issue grants (`grant.issue`) gives no
 * more than it may do itself. Agents and hosts have no role, whatever is bound to them.
 */
export const roles = given as Readonly<Record<Role, ReadonlyArray<ActionPattern>>>
