import { existsSync, readFileSync } from "node:fs"
import { generated, generatedFolder, type GeneratedName } from "./generated.ts"

/** Which of the files in the repository are not what would be written now. */
export const outdated = (): ReadonlyArray<GeneratedName> =>
  (Object.entries(generated()) as ReadonlyArray<[GeneratedName, string]>).flatMap(([name, text]) => {
    const path = new URL(name, generatedFolder)
    return existsSync(path) && readFileSync(path, "utf8") === text ? [] : [name]
  })
