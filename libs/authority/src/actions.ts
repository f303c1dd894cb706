import type { Action, Resource, WorkspaceName } from "@millrace/schemas"

/** Everything that can be asked of a cell, by the one name it has in grants, roles and the audit. */
export const actions = [
  "job.submit", "job.read", "job.cancel",
  "session.open",
  "snapshot.take", "snapshot.read", "snapshot.expire",
  "blob.put",
  "trigger.define", "trigger.read", "event.tell",
  "grant.issue", "grant.delegate", "grant.revoke", "grant.suspend", "grant.read",
  "principal.write", "principal.read",
  "decision.read",
  "usage.read",
  "budget.write", "budget.read",
  "host.read", "host.admit", "host.dismiss",
  "capacity.read", "capacity.write",
  "log.read",
  "cell.operate"
] as const

/** One of the actions that there are. */
export type ActionName = (typeof actions)[number]

/** Whether an action concerns all workspaces: it is given by a role in the workspace that the cell began with, and by no grant. */
export const isOfCell = (action: string): boolean => action.startsWith("cell.")

/** An action's name as facts carry it. */
export const actionOf = (name: ActionName): Action => name as string as Action

/**
 * What an action is done to: the workspace itself, or something in it, such as
 * `resourceOf(acme, "job", jobId)`. Every resource lies in one workspace.
 */
export const resourceOf = (workspace: WorkspaceName, ...within: ReadonlyArray<string>): Resource =>
  ["workspace", workspace, ...within].join("/") as Resource
