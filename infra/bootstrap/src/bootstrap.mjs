import { forgetLists, sweepPartials } from "./apt.mjs"
import { dependenciesAreCurrent, findNode, installDependencies, linkPostgresLibraries, packagesIn, postgresFolder } from "./dependencies.mjs"
import { takeLock } from "./lock.mjs"
import { holds, manifestIn, writeManifest } from "./manifest.mjs"
import { findNatsServer } from "./nats-server.mjs"
import { manifestPath, millraceHome } from "./places.mjs"
import { findPostgres } from "./postgresql.mjs"
import { seconds, showStep } from "./progress.mjs"
import { findSandbox, SANDBOXES } from "./sandboxes.mjs"

/** @typedef {import("./index.mjs").Manifest} Manifest */

/**
 * Makes this machine ready, and gives what it now has. When everything is in place this reads a few
 * files and touches neither the network nor the lock; otherwise each step is shown. It may be killed
 * at any moment and run again: what was done stays done, what was half done is done anew.
 * @param {string} root
 * @param {{ refresh: boolean }} wish refresh: look for everything again, fetched or not
 * @returns {Promise<Manifest>}
 */
export const bootstrap = async (root, { refresh }) => {
  const startedAt = performance.now()
  const home = millraceHome(root)
  const ready = refresh ? undefined : inPlace(root, home)
  if (ready !== undefined) {
    console.log(`Ready: ${summary(ready)} (${seconds(performance.now() - startedAt)})`)
    return ready
  }
  const lock = await takeLock(home, (holder) => console.log(`Another bootstrap (process ${holder}) is at work; waiting for it.`))
  try {
    // Whoever held the lock may have done it all.
    const meanwhile = refresh ? undefined : inPlace(root, home)
    const manifest = meanwhile ?? (await makeReady(root, home, lock.child))
    console.log(`Ready: ${summary(manifest)} (${seconds(performance.now() - startedAt)})`)
    return manifest
  } finally {
    lock.release()
  }
}

/** @param {string} root @param {string} home @returns {Manifest | undefined} */
const inPlace = (root, home) => {
  const manifest = manifestIn(manifestPath(home))
  return "problem" in manifest || !holds(root, manifest) ? undefined : manifest
}

/** @param {string} root @param {string} home @param {(pid: number) => void} onStart */
const makeReady = async (root, home, onStart) => {
  console.log("Getting this machine ready:")
  sweepPartials(home)
  forgetLists(home)
  await showStep("dependencies", async ({ says }) => {
    const current = dependenciesAreCurrent(root)
    if (!current) await installDependencies(root, { says, onStart })
    linkPostgresLibraries(postgresFolder(root))
    return { value: undefined, said: `${packagesIn(root)} packages ${current ? "in place" : "by npm ci"}` }
  })
  const node = await showStep("node", async () => {
    const value = await findNode(root)
    return { value, said: told(value) }
  })
  const natsServer = await showStep("nats-server", async ({ says }) => {
    const value = await findNatsServer({ home, says, onStart })
    return { value, said: told(value) }
  })
  const sandbox = (/** @type {keyof typeof SANDBOXES} */ name) =>
    showStep(name, async ({ says }) => {
      const value = await findSandbox(SANDBOXES[name], { home, says, onStart })
      return { value, said: "missing" in value ? `missing (optional): ${value.missing}` : told(value), lacking: "missing" in value }
    })
  const runsc = await sandbox("runsc")
  const bubblewrap = await sandbox("bubblewrap")
  const postgres = await showStep("postgresql", async ({ says }) => {
    const value = await findPostgres(root, says)
    return { value, said: told(value) }
  })
  return writeManifest(root, home, { node, natsServer, runsc, bubblewrap, postgres })
}

/** @param {{ version: string, from: string }} tool */
const told = ({ from, version }) => `${version} from ${from}`

/** @param {Manifest} manifest */
const summary = ({ bubblewrap, natsServer, node, postgres, runsc }) =>
  [
    `Node ${node.version}`,
    `nats-server ${natsServer.version}`,
    `PostgreSQL ${postgres.version}`,
    "missing" in runsc ? "no runsc" : `runsc ${runsc.version}`,
    "missing" in bubblewrap ? "no bubblewrap" : `bubblewrap ${bubblewrap.version}`
  ].join(", ")
