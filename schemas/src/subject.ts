import type { Kind, StreamName } from "./story.ts"

/** Where a story is told: `mill.<kind>.<scope>`, with `.<story>` behind it for guarded kinds. */
export interface Subject {
  readonly kind: string
  readonly scope: string
  readonly story?: string
}

/** The one text form of a subject. */
export const subjectText = ({ kind, scope, story }: Subject): string =>
  story === undefined ? `mill.${kind}.${scope}` : `mill.${kind}.${scope}.${story}`

/** The subject that a text names, or undefined when it is none of ours. */
export const parseSubject = (text: string): Subject | undefined => {
  const [root, kind, scope, story, ...more] = text.split(".")
  if (root !== "mill" || !kind || !scope || more.length > 0) return undefined
  return story === undefined ? { kind, scope } : { kind, scope, story }
}

/** The filter that matches every subject of a kind, or of one scope of it. */
export const filterOf = (kind: Kind, scope = kind.only ?? "*"): string =>
  kind.story === undefined ? `mill.${kind.kind}.${scope}` : `mill.${kind.kind}.${scope}.*`

/** The subjects that a stream holds: one filter for each of its kinds. */
export const subjectsOf = (kinds: ReadonlyArray<Kind>, stream: StreamName): ReadonlyArray<string> =>
  kinds.filter((kind) => kind.stream === stream).map((kind) => filterOf(kind))
