/** What the sources of schemas/ say about the things they export, and about the fields of facts. */
export interface Docstrings {
  /** The whole docstring of an exported const, as one paragraph. */
  readonly of: (name: string) => string | undefined
  /** The docstring of one field of a fact. */
  readonly field: (name: string, field: string) => string | undefined
}

/**
 * Reads docstrings from TypeScript text, so that the sentence over a fact is the only one there is.
 * It knows the one form we write: a `/** ... *\/` right above `export const Name = ...`, and inside a
 * struct right above `field:`.
 */
export const docstrings = (sources: ReadonlyArray<string>): Docstrings => {
  const consts = new Map<string, string>()
  const fields = new Map<string, string>()
  for (const source of sources) {
    const exported = [...source.matchAll(/^export const (\w+) =/gmu)]
    exported.forEach((match, index) => {
      const name = match[1] as string
      const above = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*$/u.exec(source.slice(0, match.index))
      if (above?.[1] !== undefined) consts.set(name, paragraph(above[1]))
      const body = source.slice(match.index, exported[index + 1]?.index ?? source.length)
      for (const [, text, field] of body.matchAll(/^[ ]+\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(\w+):/gmu)) {
        fields.set(`${name}.${field}`, paragraph(text as string))
      }
    })
  }
  return { of: (name) => consts.get(name), field: (name, field) => fields.get(`${name}.${field}`) }
}

/** The first sentence of a paragraph. */
export const firstSentence = (text: string): string => /^.*?[.!?](?=\s|$)/u.exec(text)?.[0] ?? text

const paragraph = (comment: string): string =>
  comment.split("\n").map((line) => line.replace(/^\s*\*?\s?/u, "").trim()).filter((line) => line !== "").join(" ")
