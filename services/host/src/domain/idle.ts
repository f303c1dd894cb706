/** What work has done since it began, as far as its host sees it. Each number only grows while it does something. */
export interface Doings {
  /** Bytes of output, kept or not. */
  readonly saidBytes: number
  /** Processor time of all its processes together, in ms. It falls when one of them ends unwaited for. */
  readonly cpuMs: number
  /** Bytes over its socket, both ways. */
  readonly askedBytes: number
  /** Bytes that it and the other members of its gang said to each other over their network. */
  readonly gangBytes: number
}

/** Since when it has done nothing worth the name, and what it had done by then. */
export interface Quiet {
  readonly sinceMs: number
  readonly doings: Doings
}

/** Whoever uses less than a tenth of a core over the whole of its idle time does nothing: a sandbox of gVisor uses up to a twentieth while its program sleeps (measured, on a busy machine). */
const idleShare = 1 / 10

/** What is known after another look. Without one before, the work counts as busy until now. */
export const quietAfter = (before: Quiet | undefined, now: Quiet, idleMsMax: number): Quiet =>
  before === undefined || isBusy(before.doings, now.doings, idleMsMax) ? now : before

const isBusy = (before: Doings, now: Doings, idleMsMax: number): boolean =>
  now.saidBytes !== before.saidBytes || now.askedBytes !== before.askedBytes || now.gangBytes !== before.gangBytes ||
  now.cpuMs < before.cpuMs || now.cpuMs - before.cpuMs > idleMsMax * idleShare

/** How long after one look comes the next, in ms: often enough to end what is idle no later than an eighth of its time too late. */
export const nextLookMs = ({ sinceMs }: Quiet, nowMs: number, idleMsMax: number): number =>
  Math.max(100, Math.min(10_000, Math.max(250, Math.floor(idleMsMax / 8)), sinceMs + idleMsMax - nowMs))
