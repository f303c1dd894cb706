import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { asyncApi } from "./asyncapi.ts"
import { cataloguePage } from "./catalogue-page.ts"
import { docstrings, type Docstrings } from "./docstrings.ts"
import { bodySchemaOf } from "./json-schema.ts"
import { versionedFacts } from "./shapes.ts"

/** The docstrings of a folder of sources. */
export const docstringsIn = (folder: string): Docstrings =>
  docstrings(
    readdirSync(folder).filter((file) => file.endsWith(".ts")).sort().map((file) => readFileSync(join(folder, file), "utf8"))
  )

/** Every generated document: its path under `schemas/generated`, and its text. */
export const documents = (docs: Docstrings): ReadonlyMap<string, string> =>
  new Map([
    ["CATALOGUE.md", cataloguePage(docs)],
    ["asyncapi.yaml", asyncApi(docs)],
    ...versionedFacts().map(({ name, version, schema }) => {
      const document = {
        $schema: "https://json-schema.org/draft/2020-12/schema",
        $id: `urn:millrace:fact:${name}:${version}`,
        title: `${name}/${version}`,
        description: docs.of(name),
        ...bodySchemaOf(schema)
      }
      return [`json-schema/${name}.v${version}.json`, `${JSON.stringify(document, null, 2)}\n`] as const
    })
  ])

/** What differs between the documents as they should be and a folder as it is, one sentence each. */
export const differences = (wanted: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const [path, text] of wanted) {
    const now = found.get(path)
    if (now === undefined) lines.push(`${path} is missing`)
    else if (now !== text) lines.push(`${path} differs from line ${firstDifference(text, now)} on`)
  }
  for (const path of found.keys()) if (!wanted.has(path)) lines.push(`${path} belongs to no fact`)
  return lines
}

/** Every file below a folder, by its path from there. An absent folder has none. */
export const filesBelow = (folder: string): ReadonlyMap<string, string> => {
  let paths: ReadonlyArray<string>
  try {
    paths = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return new Map()
    throw cause
  }
  return new Map(paths.map((path) => [path, readFileSync(join(folder, path), "utf8")]))
}

const firstDifference = (one: string, other: string): number => {
  const others = other.split("\n")
  const at = one.split("\n").findIndex((line, index) => line !== others[index])
  return (at < 0 ? others.length : at) + 1
}
