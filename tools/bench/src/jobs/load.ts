import { quantile, rounded } from "../figures.ts"

/** A chain that jobs go through: something that submits, and a way to hear what became of a job. */
export interface Chain {
  /** Succeeds once the job cannot be lost any more. */
  readonly submit: (number: number) => Promise<void>
  /** Calls back when a job's start was seen, and when it is over. */
  readonly onStart: (heard: (number: number) => void) => void
  readonly onEnd: (heard: (number: number) => void) => void
}

export interface Latencies {
  readonly ackMsP50: number
  readonly ackMsP99: number
  readonly startMsP50: number
  readonly startMsP99: number
}

export interface Measured {
  readonly oneInFlight: Latencies
  readonly every10Ms: Latencies
  readonly jobsPerS: number
}

export interface Rounds {
  readonly warm: number
  readonly one: number
  readonly paced: number
  readonly many: number
  readonly inFlight: number
}

export const usualRounds: Rounds = { warm: 300, one: 1000, paced: 400, many: 15_000, inFlight: 1000 }
export const quickRounds: Rounds = { warm: 50, one: 100, paced: 50, many: 2_000, inFlight: 1000 }

const patienceMs = 120_000

/** Sends jobs through a chain in three ways: one after the other, one every 10 ms, and many at once. */
export const measure = async (chain: Chain, rounds: Rounds, say: (line: string) => void): Promise<Measured> => {
  const started = new Map<number, () => void>()
  const ended = new Map<number, () => void>()
  chain.onStart((number) => take(started, number))
  chain.onEnd((number) => take(ended, number))
  let number = 0

  const one = async (into?: { ack: Array<number>; start: Array<number> }): Promise<void> => {
    const mine = number++
    const seen = until(started, mine)
    const over = until(ended, mine)
    const beganMs = performance.now()
    await chain.submit(mine)
    const ackMs = performance.now() - beganMs
    await seen
    const startMs = performance.now() - beganMs
    await over
    into?.ack.push(ackMs)
    into?.start.push(startMs)
  }

  say("  warming up")
  for (let round = 0; round < rounds.warm; round += 1) await one()
  say("  one in flight")
  const alone = { ack: [] as Array<number>, start: [] as Array<number> }
  for (let round = 0; round < rounds.one; round += 1) await one(alone)
  say("  one every 10 ms")
  const paced = { ack: [] as Array<number>, start: [] as Array<number> }
  for (let round = 0; round < rounds.paced; round += 1) {
    await Promise.all([one(paced), new Promise((resolve) => setTimeout(resolve, 10))])
  }
  say(`  ${rounds.inFlight} in flight`)
  const beganMs = performance.now()
  let left = rounds.many
  await Promise.all(Array.from({ length: rounds.inFlight }, async () => {
    while (left > 0) {
      left -= 1
      await one()
    }
  }))
  const tookMs = performance.now() - beganMs
  return { oneInFlight: latencies(alone), every10Ms: latencies(paced), jobsPerS: rounded((rounds.many / tookMs) * 1000) }
}

const latencies = ({ ack, start }: { readonly ack: ReadonlyArray<number>; readonly start: ReadonlyArray<number> }): Latencies => ({
  ackMsP50: rounded(quantile(ack, 0.5)),
  ackMsP99: rounded(quantile(ack, 0.99)),
  startMsP50: rounded(quantile(start, 0.5)),
  startMsP99: rounded(quantile(start, 0.99))
})

const take = (waiting: Map<number, () => void>, number: number): void => {
  const wake = waiting.get(number)
  waiting.delete(number)
  wake?.()
}

const until = (waiting: Map<number, () => void>, number: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`job ${number} was not heard of for ${patienceMs} ms`)), patienceMs)
    waiting.set(number, () => {
      clearTimeout(timer)
      resolve()
    })
  })
