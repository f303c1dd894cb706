import type { Action, MissingCapability, Reach, Resource } from "@millrace/schemas"
import { actions } from "./actions.ts"
import { widened } from "./limits.ts"
import { actionMatches, actionWithin, resourceWithin } from "./patterns.ts"

/**
 * What `child` would need beyond `parent`: undefined when it stays within it. Law: whatever a reach within
 * another allows at a moment, the other allows at that moment. A child must name each limit that its
 * parent has, begin no earlier, end no later, and leave room for fewer further links.
 */
export const within = (child: Reach, parent: Reach): MissingCapability | undefined => {
  const first = { action: actionIn(child.actions[0] ?? "job.read", []), resource: resourceIn(child.resources[0] ?? "workspace/any") }
  for (const action of child.actions) {
    if (!parent.actions.some((given) => actionWithin(action, given))) {
      return { action: actionIn(action, parent.actions), resource: first.resource, limit: "actions", needs: action, has: parent.actions.join(", ") || "none" }
    }
  }
  for (const resource of child.resources) {
    if (!parent.resources.some((given) => resourceWithin(resource, given))) {
      return { action: first.action, resource: resourceIn(resource), limit: "resources", needs: resource, has: parent.resources.join(", ") || "none" }
    }
  }
  const limit = widened(child.constraints, parent.constraints)
    ?? (child.notBeforeMs < parent.notBeforeMs ? { limit: "notBeforeMs", needs: String(child.notBeforeMs), has: String(parent.notBeforeMs) } : undefined)
    ?? (child.expiresAtMs > parent.expiresAtMs ? { limit: "expiresAtMs", needs: String(child.expiresAtMs), has: String(parent.expiresAtMs) } : undefined)
    ?? (child.depthMax >= parent.depthMax ? { limit: "depthMax", needs: String(child.depthMax + 1), has: String(parent.depthMax) } : undefined)
  return limit === undefined ? undefined : { ...first, ...limit }
}

/** One action that a pattern gives, if there is one that `has` does not give: a refusal names a thing that can be asked for. */
const actionIn = (pattern: string, has: ReadonlyArray<string>): Action => {
  const given = actions.filter((action) => actionMatches(pattern, action))
  const found = given.find((action) => !has.some((other) => actionMatches(other, action))) ?? given[0]
  return (found ?? (pattern.endsWith(".*") ? `${pattern.slice(0, -2)}.any` : pattern.includes(".") ? pattern : `${pattern.replace("*", "job")}.any`)) as Action
}

const resourceIn = (pattern: string): Resource => {
  const bare = pattern.endsWith("/*") ? pattern.slice(0, -2) : pattern
  return (bare.includes("/") ? bare : `${bare}/any`) as Resource
}
