/**
 * How a process of ours ends, for whoever started it. The values above 64 follow BSD's sysexits.h; 130 is
 * the shell's number for a process ended by SIGINT.
 */
export const ExitCode = {
  /** It was asked to stop, and everything was given back. */
  stopped: 0,
  /** It could not start, or something it cannot live without said no. One sentence says which. */
  unavailable: 69,
  /** A bug. The cause was logged once; the story is safe, and another process may go on. */
  bug: 70,
  /** It was asked to stop, and something did not let go in time. */
  stoppedLate: 75,
  /** The settings are wrong. One sentence a fault. */
  settings: 78,
  /** It was told twice to stop, and did so at once. */
  insisted: 130
} as const
export type ExitCode = typeof ExitCode[keyof typeof ExitCode]
