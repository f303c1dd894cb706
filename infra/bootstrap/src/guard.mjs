import { nodeRefusal } from "./versions.mjs"

/**
 * Ends this process with one sentence and status 1 when its Node is too old for the product. To be
 * called before anything that only a newer Node can read is imported.
 */
export const requireNode24 = () => {
  const refusal = nodeRefusal(process.versions.node)
  if (refusal === undefined) return
  console.error(refusal)
  process.exit(1)
}
