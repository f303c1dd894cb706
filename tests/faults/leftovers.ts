import { createHash } from "node:crypto"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import type { Cell } from "./cell.ts"

/** Folders in which a host of this cell has its sandboxes: root's lie in a place of their own. */
const groundsOf = ({ agents }: Cell): ReadonlyArray<string> =>
  agents.flatMap(({ folder }) => [join(folder, "sandboxes"), join("/var/lib/millrace/sandboxes", createHash("sha256").update(folder).digest("hex").slice(0, 8))])

/** What is left of sandboxes when all work is over. */
export const leftSandboxes = (cell: Cell): ReadonlyArray<string> =>
  groundsOf(cell).flatMap((ground) => existsSync(ground) ? readdirSync(ground).filter((name) => name.startsWith("att_")).map((name) => join(ground, name)) : [])
