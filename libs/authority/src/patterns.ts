import type { ActionPattern, ResourcePattern } from "@millrace/schemas"

/** Whether a pattern of a grant or role gives an action: `*` gives all, `job.*` what is under `job`, else only itself. */
export const actionMatches = (pattern: string, action: string): boolean =>
  pattern === action || pattern === "*" || (pattern.endsWith(".*") && action.startsWith(pattern.slice(0, -1)))

/** Whether a pattern covers a resource: itself, or with `/*` at its end everything below it, which is not itself. */
export const resourceMatches = (pattern: string, resource: string): boolean =>
  pattern === resource || (pattern.endsWith("/*") && resource.startsWith(pattern.slice(0, -1)))

/** Law: whatever a pattern `within` another matches, the other matches too. */
export const actionWithin = (child: ActionPattern, parent: ActionPattern): boolean =>
  child === parent || parent === "*" || (child !== "*" && parent.endsWith(".*") && child.startsWith(parent.slice(0, -1)))

/** Law: whatever a pattern `within` another matches, the other matches too. */
export const resourceWithin = (child: ResourcePattern, parent: ResourcePattern): boolean =>
  child === parent || (parent.endsWith("/*") && child.startsWith(parent.slice(0, -1)))
