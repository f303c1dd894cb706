import { assert, describe, it } from "@effect/vitest"
import { emptyView, evolve } from "@millrace/authority"
import { AskId, type MillFact, Principal, WorkspaceName } from "@millrace/schemas"
import { answer } from "./asks.ts"
import { emptyRegistry } from "./registry.ts"

const [home, other] = ["acme", "other"].map((name) => WorkspaceName.make(name)) as [WorkspaceName, WorkspaceName]
const ada = Principal.make("user:ada")
const opened = (workspace: WorkspaceName): ReadonlyArray<MillFact> => [
  { _tag: "WorkspaceOpened", workspace, organisation: workspace, owner: ada },
  { _tag: "RoleBound", workspace, principal: ada, role: "owner", boundBy: ada }
]
const view = [...opened(home), ...opened(other)].reduce(evolve, emptyView())

describe("the role of the cell's operators", () => {
  const binding = (workspace: WorkspaceName) =>
    answer({ ...emptyRegistry(), view }, {
      _tag: "RoleAsked", askId: AskId.make(`ask_${"0".repeat(26)}`), workspace, askedBy: ada, decision: { rule: "role.owner", view: {} }, principal: Principal.make("user:joe"), role: "operator"
    }, { atMs: 0 } as never)?.fact

  it("is given in the workspace that the cell began with, and refused elsewhere: it would count for nothing there", () => {
    assert.deepInclude(binding(home), { _tag: "RoleBound", role: "operator" })
    assert.deepInclude(binding(other), { _tag: "AskRefused", reason: "invalid", detail: "operator is a role of the cell, and counts in workspace acme alone" })
  })
})
