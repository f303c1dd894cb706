import { accessSync, constants, existsSync, realpathSync, statSync } from "node:fs"
import { delimiter, dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

/** The root folder of this checkout. */
export const repositoryRoot = () => resolve(dirname(realpathSync(fileURLToPath(import.meta.url))), "../../..")

/**
 * The folder that holds what this machine was given: `MILLRACE_HOME`, else `.millrace` in the checkout.
 * @param {string} [root]
 */
export const millraceHome = (root = repositoryRoot()) => resolve(process.env["MILLRACE_HOME"] || join(root, ".millrace"))

/** @param {string} home */
export const manifestPath = (home) => join(home, "tools.json")

/** @param {string} path */
export const isExecutable = (path) => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/**
 * Where a command is found on PATH, the way a shell would. Folders of npm's binaries are passed over:
 * what lies there came with the dependencies, not with the machine.
 * @param {string} command
 * @returns {string | undefined}
 */
export const onPath = (command) => {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    if (folder === "" || folder.includes("node_modules")) continue
    const path = join(folder, command)
    if (isExecutable(path)) return path
  }
  return undefined
}

/**
 * Which of these paths exists first.
 * @param {readonly string[]} paths
 */
export const firstExisting = (paths) => paths.find((path) => existsSync(path))
