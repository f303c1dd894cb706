import type { StoryLine } from "@millrace/gateway/api"

/** Says one line. */
export type Say = (line: string) => void

/**
 * Tells facts as they happen, each with the fact that caused it, and what a program prints between them. Times
 * count from the first fact of an act.
 */
export class Telling {
  readonly say: Say
  readonly #names = new Map<string, string>()
  #firstAtMs: number | undefined

  constructor(say: Say) {
    this.say = say
  }

  act(number: number, title: string): void {
    this.#firstAtMs = undefined
    this.say("")
    this.say(`${number}. ${title}`)
  }

  /** One fact of a job's story. */
  readonly fact = ({ atMs, causedBy, id, name, text }: Pick<StoryLine, "atMs" | "causedBy" | "id" | "name" | "text">): void => {
    this.#firstAtMs ??= atMs
    this.#names.set(id, name)
    const cause = causedBy === null ? undefined : this.#names.get(causedBy)
    this.say(`   ${`+${((atMs - this.#firstAtMs) / 1000).toFixed(3)} s`.padEnd(10)} ${name.padEnd(18)} ${text}${cause === undefined ? "" : `  <- ${cause}`}`)
  }

  /** Something that is no fact of a job. */
  note(name: string, text: string): void {
    this.say(`   ${"".padEnd(10)} ${name.padEnd(18)} ${text}`)
  }

  /** A line that the work printed. */
  readonly printed = (line: string): void => this.say(`   ${"".padEnd(10)} ${"".padEnd(18)} | ${line}`)
}

/** Hands over whole lines of a text that comes in pieces. */
export const wholeLines = (hand: (line: string) => void): { readonly add: (text: string) => void; readonly end: () => void } => {
  let rest = ""
  return {
    add: (text) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) hand(line)
    },
    end: () => {
      if (rest !== "") hand(rest)
      rest = ""
    }
  }
}
