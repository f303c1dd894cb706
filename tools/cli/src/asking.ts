import { Effect } from "effect"
import { type ApiGiven, apiUrl, openDoor } from "./door.ts"
import type { Origin } from "./origin.ts"
import { note, type Output, telling } from "./print.ts"
import type { Ended } from "./trouble.ts"

export type Asked = ApiGiven & { readonly output: Output }

/** Runs a command's question with an open door, and says what goes wrong. */
export const asking = <A, E, R>(given: Asked, ask: (origin: Origin) => Effect.Effect<A, E, R>): Effect.Effect<A, Ended, R> =>
  telling(Effect.flatMap(openDoor(given, { note }), ask), { format: given.output, url: apiUrl(given) })
