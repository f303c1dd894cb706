import { newSeed, type Role } from "@millrace/journal/admission"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { KeysUnusable } from "./keys-unusable.ts"

/** Keys made once and never again: whoever loses them loses the cell's accounts, not its facts. */
const SEEDS = {
  operator: "operator",
  "operator-signing": "operator",
  system: "account",
  "system-signing": "account",
  cell: "account",
  "cell-signing": "account",
  hosts: "account",
  "hosts-signing": "account"
} as const satisfies Readonly<Record<string, Role>>

export type SeedName = keyof typeof SEEDS

const FOLDER_MODE = 0o700
const FILE_MODE = 0o600
const OTHERS = 0o077

/** Opens the folder, making it with its seeds when it is missing: whole or not at all. */
export const openKeyFolder = Effect.fnUntraced(function*(folder: string) {
  if (!existsSync(folder)) {
    yield* Effect.try({
      try: () => make(folder),
      catch: (cause) => new KeysUnusable({ folder, detail: String(cause), remedy: "make its parent writable for this user, or name another folder" })
    })
  }
  for (const path of [folder, ...Object.keys(SEEDS).map((name) => seedFile(folder, name))]) {
    const found = statSync(path, { throwIfNoEntry: false })
    if (found === undefined) return yield* new KeysUnusable({ folder, detail: `${path} is missing`, remedy: "restore it from a backup, or move the folder away: new keys are made then, and every host must enrol again" })
    if ((found.mode & OTHERS) !== 0) return yield* new KeysUnusable({ folder, detail: `others than its owner may use ${path}`, remedy: `chmod go= ${path}, and ask yourself who has read it` })
  }
})

/** A seed of the folder. */
export const seedIn = (folder: string, name: SeedName): string => readFileSync(seedFile(folder, name), "utf8").trim()

/** A file of the folder, or undefined while there is none. */
export const readKeyFile = (folder: string, name: string): string | undefined => {
  const path = join(folder, name)
  return existsSync(path) ? readFileSync(path, "utf8") : undefined
}

/** Writes a file of the folder for its owner alone, whole or not at all. */
export const writeKeyFile = (folder: string, name: string, text: string): void => {
  const beside = join(folder, `.${name}.${process.pid}`)
  writeFileSync(beside, text, { mode: FILE_MODE })
  renameSync(beside, join(folder, name))
}

const seedFile = (folder: string, name: string) => join(folder, `${name}.nk`)

const make = (folder: string) => {
  const fresh = `${folder}.${randomBytes(6).toString("hex")}`
  mkdirSync(dirname(folder), { recursive: true, mode: FOLDER_MODE })
  mkdirSync(fresh, { mode: FOLDER_MODE })
  for (const [name, role] of Object.entries(SEEDS)) writeFileSync(seedFile(fresh, name), `${newSeed(role)}\n`, { mode: FILE_MODE })
  try {
    renameSync(fresh, folder)
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    // Another process made it in the same moment: its keys are as good.
    if (!existsSync(folder)) throw error
  }
}
