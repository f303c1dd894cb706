import { Constraints, Reach } from "@millrace/schemas"
import { Schema } from "effect"
import { type Credential, emptyView, type Link, type View, type WarrantChange } from "./view.ts"

const encodeReach = Schema.encodeSync(Reach)
const decodeReach = Schema.decodeUnknownSync(Reach)
const encodeConstraints = Schema.encodeSync(Constraints)
const decodeConstraints = Schema.decodeUnknownSync(Constraints)

/** A view as plain values in a canonical order: equal views, equal values. */
export interface SavedView {
  /** One that was saved before this was kept has one workspace, and that is it. */
  readonly home?: string
  readonly owners: ReadonlyArray<readonly [string, unknown]>
  readonly roles: ReadonlyArray<readonly [string, unknown]>
  readonly credentials: ReadonlyArray<readonly [string, unknown]>
  readonly grants: ReadonlyArray<readonly [string, unknown]>
  readonly warrants: ReadonlyArray<readonly [string, unknown]>
}

/** For a fold's checkpoint. `loadView(saveView(view))` decides what `view` decides. */
export const saveView = (view: View): SavedView => ({
  ...(view.home === undefined ? {} : { home: view.home }),
  owners: sorted(view.owners),
  roles: sorted(view.roles).map(([workspace, held]) => [workspace, sorted(held)] as const),
  credentials: sorted(view.credentials),
  grants: sorted(view.grants).map(([id, { reach, ...link }]) => [id, { ...link, reach: encodeReach(reach) }] as const),
  warrants: sorted(view.warrants).map(([id, { constraints, ...change }]) =>
    [id, { ...change, ...(constraints === undefined ? {} : { constraints: encodeConstraints(constraints) }) }] as const)
})

/** The view that was saved. What is not such a value is a bug, and throws. */
export const loadView = (saved: SavedView): View => {
  const view = emptyView()
  view.home = (saved.home ?? (saved.owners.length === 1 ? saved.owners[0]![0] : undefined)) as View["home"]
  for (const [workspace, owner] of saved.owners) view.owners.set(workspace as never, owner as never)
  for (const [workspace, held] of saved.roles) view.roles.set(workspace as never, new Map(held as never))
  for (const [digest, credential] of saved.credentials) view.credentials.set(digest as never, credential as Credential)
  for (const [id, link] of saved.grants) {
    const { reach, ...rest } = link as Omit<Link, "reach"> & { readonly reach: unknown }
    view.grants.set(id as never, { ...rest, reach: decodeReach(reach) })
    if (rest.parent !== undefined) view.children.set(rest.parent, [...view.children.get(rest.parent) ?? [], rest.grantId])
  }
  for (const [id, change] of saved.warrants) {
    const { constraints, ...rest } = change as Omit<WarrantChange, "constraints"> & { readonly constraints?: unknown }
    view.warrants.set(id as never, { ...rest, ...(constraints === undefined ? {} : { constraints: decodeConstraints(constraints) }) })
  }
  return view
}

const sorted = <K extends string, V>(map: ReadonlyMap<K, V>): ReadonlyArray<readonly [K, V]> =>
  [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
