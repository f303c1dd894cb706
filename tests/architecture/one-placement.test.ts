import { Fleet } from "@millrace/packing"
import { assert, describe, it } from "vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")
const sources = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts")).map((name) => join(root, folder, name))

/** The files below a folder that take the fleet from the packing, under whatever name. */
const users = (folder: string): ReadonlyArray<string> =>
  sources(folder).filter((file) => /import \{[^}]*\bFleet\b[^}]*\} from "@millrace\/packing"/u.test(readFileSync(file, "utf8")))

describe("the placement function", () => {
  it("is one: the service decides by it, and the benches measure it", () => {
    assert.isFunction(Fleet.prototype.choose)
    assert.isNotEmpty(users("services/scheduler/src/domain"))
    for (const bench of ["packing", "placements", "residency"]) assert.isNotEmpty(users(`tools/bench/src/${bench}`), bench)
  })

  it("has no second one beside it in the service", () => {
    const choosing = sources("services/scheduler/src").filter((file) => /firstFit|bestFit/u.test(readFileSync(file, "utf8")))
    assert.deepStrictEqual(choosing, [])
  })
})
