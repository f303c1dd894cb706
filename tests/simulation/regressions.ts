/** Seeds that once broke a law, with what was wrong. A change of the code may change what a seed does; they stay. */
export const regressions: ReadonlyArray<{ readonly seed: number; readonly contested?: boolean; readonly was: string }> = [
  { seed: 30, was: "a line that ran ahead without a fence stored its second commit behind a newer scheduler's first" },
  { seed: 198, was: "a host whose voice was lost went on waiting for its words to be told" },
  { seed: 140, was: "an append was taken for an older one that began with the same fact, and the end behind it was never said" },
  { seed: 200, was: "an agent that fell twice told the start of an attempt again" },
  { seed: 35, was: "an agent that fell twice told the start of an attempt again, from a commit of several attempts" },
  { seed: 130, was: "an attempt that had been refused was told to have ended, too" },
  { seed: 124, was: "a scheduler that took over had seen less of the hosts than the one before, and no replay could follow" },
  { seed: 8, was: "equal checkpoints hashed differently, because their keys came in another order" },
  { seed: 318, was: "an agent that took up running work noted it as begun, and the next one told its start again" },
  { seed: 403, was: "an agent that took up two attempts and fell told the start of the first again" },
  { seed: 695, was: "two schedulers took over from one place in one millisecond, each took the other's word for its own, and both went on" },
  { seed: 24, was: "metering forgot that an array waited for money as soon as its first task was placed" },
  { seed: 228, was: "money that was called back never returned, because nobody said that it had been heard" },
  { seed: 6, contested: true, was: "work was placed beyond a quota that the same round had set before it" }
]
