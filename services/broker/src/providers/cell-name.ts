import { Effect, Schema } from "effect"
import type { ProviderSettings } from "./all.ts"

/** The name of a cell that was given none. */
export const unnamedCell = "local"

/** A cell would tag its machines with the name that every other unnamed cell uses. */
export class CellUnnamed extends Schema.TaggedError<CellUnnamed>()("CellUnnamed", { provider: Schema.String, cell: Schema.String }) {
  override get message() {
    return `The broker may not buy from the provider ${this.provider} as the cell "${this.cell}": every cell that was given no name is called so, and two of one name in an account end each other's machines. Set MILLRACE_CELL to a name that no other cell of the account has`
  }
}

/**
 * Refuses the default name where another cell may hold machines in the same account. A provider on this machine's
 * loopback is a pretend one, which only this cell knows.
 */
export const cellNamed = (cell: string, providers: ReadonlyArray<Pick<ProviderSettings, "name" | "endpoint">>): Effect.Effect<void, CellUnnamed> => {
  const shared = cell === unnamedCell ? providers.find(({ endpoint }) => !isLoopback(endpoint)) : undefined
  return shared === undefined ? Effect.void : Effect.fail(new CellUnnamed({ provider: shared.name, cell }))
}

const isLoopback = (endpoint: string): boolean => {
  if (!URL.canParse(endpoint)) return false
  const { hostname } = new URL(endpoint)
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/u.test(hostname)
}
