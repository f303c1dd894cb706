import { Effect } from "effect"
import { birth, type FirstOwner } from "../domain/birth.ts"
import { Register } from "./register.ts"

/** Gives a cell without a workspace its first one and its owner, in one commit. A cell that has one is left alone. */
export const begin = (owner: FirstOwner) =>
  Register.use(({ say }) =>
    Effect.asVoid(say((registry, atMs) => ({
      subject: { kind: "principal", scope: owner.workspace },
      actor: owner.principal,
      facts: birth(registry, owner, atMs).map((event) => ({ event }))
    }))))
