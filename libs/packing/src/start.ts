/** What a host has to do before something new can begin there: until when it has no room, and how long it loads what is read. */
export interface Ahead {
  readonly freeAtMs: number
  readonly loadMs: number
}

/** How long a task would take to begin there from a moment on, in whole ms: waiting, then loading. */
export const startMsOf = ({ freeAtMs, loadMs }: Ahead, atMs: number): number => Math.round(Math.max(0, freeAtMs - atMs) + loadMs)
