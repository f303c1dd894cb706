import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { dictionary } from "@millrace/schemas"
import { differences, docstringsIn, documents, filesBelow } from "./documents.ts"
import { type Frozen, freeze, missingSamples } from "./samples.ts"
import { missingShapes } from "./shapes.ts"

const usage = `npm run schemas                 write the documents, and a first sample for each new fact
npm run schemas -- --check      say what is out of date, and fail if anything is
npm run schemas -- --freeze     release today's samples and dictionary: from then on they cannot change
npm run schemas -- --shapes     print the record shapes that the dictionary does not name yet`

const room = resolve(import.meta.dirname, "../../../schemas")
const generated = join(room, "generated")
const samplesFolder = join(room, "samples")
const frozenFile = join(samplesFolder, "frozen.json")

const samples = (): ReadonlyMap<string, string> =>
  new Map([...filesBelow(samplesFolder)].filter(([name]) => name !== "frozen.json"))

const write = (path: string, text: string): void => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

const writeAll = (): void => {
  const wanted = documents(docstringsIn(join(room, "src")))
  const found = filesBelow(generated)
  const changed = differences(wanted, found)
  for (const [path, text] of wanted) if (found.get(path) !== text) write(join(generated, path), text)
  for (const path of found.keys()) if (!wanted.has(path)) rmSync(join(generated, path))
  const added = missingSamples(samples())
  for (const [name, text] of added) write(join(samplesFolder, name), text)
  console.log(`${wanted.size} documents, ${changed.length} of them new or changed; ${added.size} samples added.`)
}

const check = (): void => {
  const lines = [
    ...differences(documents(docstringsIn(join(room, "src"))), filesBelow(generated)),
    ...[...missingSamples(samples()).keys()].map((name) => `the sample ${name} is missing`)
  ]
  if (lines.length === 0) return
  console.error(`schemas/generated is out of date:\n${lines.map((line) => `  ${line}`).join("\n")}\nRun: npm run schemas`)
  process.exitCode = 1
}

const freezeAll = (): void => {
  const frozen = freeze(JSON.parse(readFileSync(frozenFile, "utf8")) as Frozen, samples())
  write(frozenFile, `${JSON.stringify(frozen, null, 2)}\n`)
  console.log(`${Object.keys(frozen.samples).length} samples and ${frozen.dictionary.length} dictionary entries are frozen.`)
}

const printShapes = (): void => {
  const shapes = missingShapes(dictionary)
  console.log(shapes.map((shape) => `  ${JSON.stringify(shape)}`).join(",\n"))
  console.error(`${shapes.length} shapes are not in the dictionary: append those that are written often to schemas/src/dictionary.ts`)
}

const [option, ...more] = process.argv.slice(2)
const actions: Readonly<Record<string, () => void>> = {
  "--write": writeAll,
  "--check": check,
  "--freeze": freezeAll,
  "--shapes": printShapes
}
const action = more.length === 0 ? actions[option ?? "--write"] : undefined
if (action === undefined) {
  console.error(usage)
  process.exitCode = 2
} else action()
