/**
 * The bound on starving: who heads a line and has waited this long for room has a host held for it, on which nothing
 * else begins. What runs there ends within its own longest time, so it is placed by then at the latest, however much
 * arrives behind it that would fit sooner. At most a tenth of the hosts, and always one, is held so; who has
 * waited longest goes first, so with more of them each waits for those before it.
 */
export const agedMs = 600_000
