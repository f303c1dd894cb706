import { WorkspaceName } from "@millrace/schemas"
import { Effect } from "effect"
import { keyringInFolder } from "../keyring-folder.ts"
import { Keyring } from "../keyring.ts"

/** Seals a word for workspace `acme` under the keys in a folder: one of several processes that do so at once. */
const [folder = "", word = ""] = process.argv.slice(2)
const sealed = await Effect.runPromise(
  Keyring.use((keyring) => keyring.seal(WorkspaceName.make("acme"), Buffer.from(word), "here")).pipe(Effect.provide(keyringInFolder(folder)))
)
process.stdout.write(JSON.stringify(sealed))
