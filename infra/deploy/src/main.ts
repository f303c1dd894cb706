import { requireNode24 } from "@millrace/bootstrap"
import { mkdirSync, writeFileSync } from "node:fs"
import { generated, generatedFolder } from "./generated.ts"
import { outdated } from "./outdated.ts"

requireNode24()

const words = process.argv.slice(2)
const [wrong] = words.filter((word) => word !== "--check")
if (wrong !== undefined) {
  process.stdout.write("npm run deploy [-- --check]\n\nWrites the image's, compose's and Kubernetes' files into infra/deploy/generated; with --check says which are out of date, and ends with 1 if any is.\n")
  process.exit(wrong === "--help" ? 0 : 64)
}

if (words.length > 0) {
  const names = outdated()
  for (const name of names) process.stderr.write(`infra/deploy/generated/${name} is out of date: run npm run deploy\n`)
  process.exit(names.length === 0 ? 0 : 1)
}

mkdirSync(generatedFolder, { recursive: true })
for (const [name, text] of Object.entries(generated())) {
  writeFileSync(new URL(name, generatedFolder), text)
  process.stdout.write(`infra/deploy/generated/${name}\n`)
}
