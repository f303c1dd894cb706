import { assert, describe, it } from "vitest"
import { doctor, renderDoctor } from "./index.mjs"

describe("the doctor", () => {
  it("runs every tool of this machine, and those it cannot do without are well", async () => {
    const rows = await doctor()
    assert.deepStrictEqual(rows.map(({ name }) => name), ["node", "nats-server", "postgresql", "runsc", "bubblewrap", "disk"])
    for (const row of rows) {
      assert.isTrue(row.ok || row.optional, `${row.name}: ${row.found}`)
      assert.strictEqual(row.remedy === "", row.ok, `${row.name} has a remedy exactly when it needs one`)
    }
  })

  it("shows a table, and under it what to type", () => {
    const shown = renderDoctor([
      { name: "node", found: "/bin/node", version: "24.21.0", needed: ">= 24", ok: true, optional: false, remedy: "" },
      { name: "runsc", found: "not found", version: "", needed: "any", ok: false, optional: true, remedy: "install it" },
      { name: "disk", found: "0.1 GiB free", version: "", needed: ">= 2 GiB", ok: false, optional: false, remedy: "make room" }
    ])
    assert.strictEqual(shown, `   what   version  needed    found
✓  node   24.21.0  >= 24     /bin/node
-  runsc  -        any       not found
✗  disk   -        >= 2 GiB  0.1 GiB free

To mend runsc: install it
To mend disk: make room`)
  })
})
