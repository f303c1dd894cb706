/**
 * Shows what is being done: one aligned line a step, with its time. On a terminal the line of the
 * step in progress moves; elsewhere only finished lines are printed.
 */

const NAME_WIDTH = 14
const SAID_WIDTH = 56
const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
const FRAME_MS = 100

/** @param {number} ms */
export const seconds = (ms) => `${(ms / 1000).toFixed(ms < 1000 ? 2 : 1)} s`

/** @param {string} text @param {number} width */
const fit = (text, width) => (text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width))

/** @param {string} mark @param {string} name @param {string} said @param {number} ms */
const line = (mark, name, said, ms) => `${mark} ${name.padEnd(NAME_WIDTH)} ${said.padEnd(SAID_WIDTH)} ${seconds(ms).padStart(8)}`

/**
 * @typedef {object} Step
 * @property {(said: string) => void} says what it does at the moment
 */

/**
 * @template A
 * @typedef {object} Done
 * @property {A} value
 * @property {string} said what came of it, for the closing line
 * @property {boolean} [lacking] true where something optional is missing
 */

/**
 * Runs one step and shows it. A failed step shows its line too; the error goes on to the caller.
 * @template A
 * @param {string} name
 * @param {(step: Step) => Promise<Done<A>>} work
 * @param {NodeJS.WriteStream} [out]
 * @returns {Promise<A>}
 */
export const showStep = async (name, work, out = process.stdout) => {
  const startedAt = performance.now()
  const took = () => performance.now() - startedAt
  let said = ""
  let frame = 0
  const draw = () => out.write(`\r\x1b[2K${line(FRAMES[frame++ % FRAMES.length] ?? "", name, fit(said, SAID_WIDTH), took())}`)
  const timer = out.isTTY ? setInterval(draw, FRAME_MS) : undefined
  /** @param {string} text */
  const close = (text) => {
    clearInterval(timer)
    out.write(`${out.isTTY ? "\r\x1b[2K" : ""}${text}\n`)
  }
  try {
    const done = await work({ says: (text) => (said = text) })
    close(line(done.lacking ? "-" : "✓", name, done.said, took()))
    return done.value
  } catch (error) {
    close(line("✗", name, "failed", took()))
    throw error
  }
}
