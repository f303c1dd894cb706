/**
 * What a channel is for stands in its name: a kind, and for some kinds a detail behind a colon.
 *
 * | kind    | bytes go         | detail             | when the reader is slow or away |
 * |---------|------------------|--------------------|---------------------------------|
 * | stdin   | client -> host   | -                  | the writer waits                |
 * | stdout  | host -> client   | whose, or none     | the writer waits                |
 * | stderr  | host -> client   | whose, or none     | the writer waits                |
 * | control | both             | -                  | the writer waits                |
 * | log     | host -> client   | which log, or none | the oldest bytes are dropped, as a counted gap |
 * | port    | both             | port number        | the writer waits                |
 * | file    | both             | the path or request | the writer waits               |
 *
 * Who looks on at work from beside it names the attempt: `stdout:att_...`, and `:now` behind it for what is there already.
 *
 * One TCP connection of a port forward is one channel, so several channels may bear one name.
 */
export const channelKinds = {
  stdin: { toHost: true, toClient: false, dropsOldest: false },
  stdout: { toHost: false, toClient: true, dropsOldest: false },
  stderr: { toHost: false, toClient: true, dropsOldest: false },
  control: { toHost: true, toClient: true, dropsOldest: false },
  log: { toHost: false, toClient: true, dropsOldest: true },
  port: { toHost: true, toClient: true, dropsOldest: false },
  file: { toHost: true, toClient: true, dropsOldest: false }
} as const

export type ChannelKind = keyof typeof channelKinds

/** The kind in a channel's name, or `undefined` if it names none that we know. */
export const kindOf = (name: string): ChannelKind | undefined => {
  const kind = name.split(":", 1)[0] as string
  return Object.hasOwn(channelKinds, kind) ? (kind as ChannelKind) : undefined
}

/** What stands behind the colon in a channel's name: `"8080"` in `"port:8080"`; empty if nothing does. */
export const detailOf = (name: string): string => {
  const colon = name.indexOf(":")
  return colon < 0 ? "" : name.slice(colon + 1)
}

/** Whether a list of allowed channels covers `name`: by the same name, or by `kind:*` for any detail. */
export const covers = (allowed: ReadonlyArray<string>, name: string): boolean => {
  const kind = kindOf(name)
  return kind !== undefined && allowed.some((entry) => entry === name || entry === `${kind}:*`)
}
