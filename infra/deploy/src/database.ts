import { randomBytes } from "node:crypto"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { always, once } from "./keys.ts"
import { withTables, type WithTables } from "./parts.ts"
import { serverPorts } from "./places.ts"

/**
 * What PostgreSQL runs when its folder is new: a role and a database for each part that has tables. No part can
 * read another's, whatever it is made to ask.
 */
export const rolesText = (passwords: Readonly<Record<WithTables, string>>): string =>
  withTables.map((name) =>
    [
      `create role "${name}" login password '${passwords[name]}';`,
      `create database "${name}" owner "${name}";`,
      `revoke all on database "${name}" from public;`
    ].join("\n")
  ).join("\n") + "\n"

/** A part's own file of settings: where its tables are, which holds its password and so is in no environment. */
export const databaseSettings = (name: WithTables, password: string): string =>
  `MILLRACE_DATABASE_URL=postgres://${name}:${password}@postgres:${serverPorts.postgres}/${name}\n`

/** Makes the passwords that are missing, and what follows from them. */
export const makeDatabaseKeys = (keys: string): void => {
  const folder = join(keys, "database")
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const passwordOf = (name: string) => once(join(folder, `${name}.password`), () => `${randomBytes(24).toString("base64url")}\n`).trim()
  passwordOf("superuser")
  const passwords = Object.fromEntries(withTables.map((name) => [name, passwordOf(name)])) as Record<WithTables, string>
  for (const name of withTables) always(join(folder, `${name}.env`), databaseSettings(name, passwords[name]))
  always(join(folder, "roles.sql"), rolesText(passwords))
}
