import type { HostId } from "@millrace/schemas"
import type { Lease } from "./lease.ts"
import type { State } from "./state.ts"

/** What other streams still say of a host that is over is heard within so long. */
const heardMsMax = 3_600_000

/** Something that is over: whatever is still said of it is of no use. A rented one does not come back. */
export interface Over {
  readonly atMs: number
  readonly rented: boolean
}

/** Whether a host, or the key that it was to use, is over and forgotten. */
export const isOver = (state: State, name: string): boolean => state.over.has(name)

const pass = (state: State, names: ReadonlyArray<string | undefined>, rented: boolean, atMs: number): void => {
  for (const [name, over] of state.over) if (atMs - over.atMs > heardMsMax) state.over.delete(name)
  for (const name of names) if (name !== undefined) state.over.set(name, { atMs, rented })
}

/** A lease's machine is no more: nothing about its host is asked again. */
export const forgetRented = (state: State, { hostId, requested }: Lease, atMs: number): void => {
  const digest = requested?.fact.oneTimeKeyDigest
  const id = hostId ?? (digest === undefined ? undefined : state.byDigest.get(digest))
  if (id !== undefined) state.hosts.delete(id)
  if (digest !== undefined) state.byDigest.delete(digest)
  pass(state, [id, digest], true, atMs)
}

/** A host that nobody rents has left. Should it come back it is known anew. */
export const forgetOwn = (state: State, id: HostId, atMs: number): void => {
  const digest = state.hosts.get(id)?.admitted?.digest
  for (const { hostId, requested } of state.leases.values()) if (hostId === id || (digest !== undefined && requested?.fact.oneTimeKeyDigest === digest)) return
  state.hosts.delete(id)
  if (digest !== undefined) state.byDigest.delete(digest)
  pass(state, [id], false, atMs)
}

/** It has joined again: it is not over after all, unless it was rented. */
export const comesBack = (state: State, id: HostId): void => {
  if (state.over.get(id)?.rented === false) state.over.delete(id)
}
