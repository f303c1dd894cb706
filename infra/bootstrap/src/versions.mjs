/** The least versions this product runs on, and how versions are compared. Pure. */

export const NODE_MAJOR_MIN = 24
export const NATS_SERVER_MIN = "2.12.3"
/** The first runsc known to run `systrap`, `do` and checkpoints on current kernels (its versions are dates). */
export const RUNSC_MIN = "20240729"

/**
 * The numbers of the first version found in a text: `nats-server: v2.15.1` gives `[2, 15, 1]`,
 * `runsc version 0.0~20240729.0` gives the date. `undefined` where the text names none.
 * @param {string} text
 * @returns {number[] | undefined}
 */
export const versionIn = (text) => {
  const date = /\b(20\d{6})(?:\.\d+)?\b/.exec(text)
  if (date?.[1] !== undefined) return [Number(date[1])]
  const dotted = /\d+(?:\.\d+)+/.exec(text)
  return dotted?.[0].split(".").map(Number)
}

/**
 * Below zero when `a` is older than `b`, zero when equal, above zero when newer. Missing places count
 * as zero, and places compare as numbers: 2.9.10 is older than 2.12.3.
 * @param {readonly number[]} a
 * @param {readonly number[]} b
 */
export const compareVersions = (a, b) => {
  for (let place = 0; place < Math.max(a.length, b.length); place++) {
    const difference = (a[place] ?? 0) - (b[place] ?? 0)
    if (difference !== 0) return Math.sign(difference)
  }
  return 0
}

/**
 * Whether the version named in `text` is at least `least`. A text without a version is not.
 * @param {string} text
 * @param {string} least
 */
export const atLeast = (text, least) => {
  const version = versionIn(text)
  return version !== undefined && compareVersions(version, /** @type {number[]} */ (versionIn(least))) >= 0
}

/**
 * Why a nats-server of this version is refused, in one sentence; `undefined` when it is not.
 * @param {string} text what `nats-server --version` printed
 * @returns {string | undefined}
 */
export const natsServerRefusal = (text) => {
  if (atLeast(text, NATS_SERVER_MIN)) return undefined
  const version = versionIn(text)
  if (version === undefined) return `it prints no version ("${text.trim().slice(0, 80)}"), so it cannot be trusted with the journal`
  return `nats-server ${version.join(".")} is older than ${NATS_SERVER_MIN} and loses updates: with three replicas 2.9.10 accepted 473 of 24,625 compare-and-appends made on a stale sequence`
}

/**
 * Why a Node of this version is refused, in one sentence; `undefined` when it is not.
 * @param {string} version as in `process.versions.node`
 * @returns {string | undefined}
 */
export const nodeRefusal = (version) => {
  const major = versionIn(version)?.[0] ?? 0
  if (major >= NODE_MAJOR_MIN) return undefined
  return `Millrace runs its TypeScript directly and needs Node ${NODE_MAJOR_MIN} or newer, but this is Node ${version}: start it with \`npm start\` or \`npx millrace\`, which take Node ${NODE_MAJOR_MIN} from node_modules, or run \`npm ci\` first if that folder is missing.`
}
