import { type Clock, Duration, Effect, Exit, type Fiber, type Scheduler } from "effect"

interface Event {
  readonly atMs: number
  /** Events of one moment happen in the order in which they were planned. */
  readonly order: number
  readonly happen: () => void
  cancelled: boolean
}

/** A run that never comes to rest, or that rests with nothing left to happen. Either is a bug in what runs. */
export class Stuck extends Error {}

/**
 * Time that moves only when nobody has anything left to do. It is also the scheduler of every fiber, in one
 * queue and on one stack, so a run takes no real time between two moments, touches no timer of the machine,
 * and is the same each time. What runs in it must not wait for promises: nothing would wake it.
 *
 * Effect's own TestClock gives the same order; owning the queue as well makes it tell by itself when a moment
 * is over, which costs no turns of the event loop.
 */
export class VirtualTime {
  #nowMs: number
  #order = 0
  readonly #events: Array<Event> = []
  #ready: Array<() => void> = []
  readonly #stepsMax: number

  /** `stepsMax` bounds the tasks and events of one run. */
  constructor({ startMs = 1_700_000_000_000, stepsMax = 5_000_000 }: { readonly startMs?: number; readonly stepsMax?: number } = {}) {
    this.#nowMs = startMs
    this.#stepsMax = stepsMax
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** Plans something; the returned function takes it back. */
  after(delayMs: number, happen: () => void): () => void {
    const event: Event = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order, happen, cancelled: false }
    this.#order += 1
    this.#push(event)
    return () => void (event.cancelled = true)
  }

  /** A clock that runs with this time, `skewMs` ahead; `receive` may hold back the waking of a sleeper. */
  clock({ receive = (wake) => wake(), skewMs = 0 }: { readonly receive?: (wake: () => void) => void; readonly skewMs?: number } = {}): Clock.Clock {
    const millis = () => Math.max(0, Math.floor(this.#nowMs + skewMs))
    const nanos = () => BigInt(millis()) * 1_000_000n
    return {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) => {
        const ms = Duration.toMillis(duration)
        if (ms <= 0) return Effect.yieldNow
        if (!Number.isFinite(ms)) return Effect.never
        return Effect.callback((resume) => {
          const cancel = this.after(ms, () => receive(() => resume(Effect.void)))
          return Effect.sync(cancel)
        })
      }
    }
  }

  /** Runs an effect to its end, and time with it. */
  run<A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    let exit: Exit.Exit<A, E> | undefined
    const fiber: Fiber.Fiber<A, E> = Effect.runFork(effect, { scheduler: this.#scheduler })
    fiber.addObserver((ended) => void (exit = ended))
    for (let steps = 0; exit === undefined; steps += 1) {
      if (steps > this.#stepsMax) throw new Stuck(`the run is still busy after ${this.#stepsMax} steps, at ${this.#nowMs} ms`)
      if (this.#ready.length > 0) this.#work()
      else this.#advance()
    }
    return exit
  }

  readonly #scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount >= 2048,
    makeDispatcher: () => ({
      scheduleTask: (task) => void this.#ready.push(task),
      flush: () => {
        while (this.#ready.length > 0) this.#work()
      }
    })
  }

  #work(): void {
    const tasks = this.#ready
    this.#ready = []
    for (const task of tasks) task()
  }

  #advance(): void {
    const event = this.#pop()
    if (event === undefined) throw new Stuck(`nothing is left to happen, and the run has not ended, at ${this.#nowMs} ms`)
    if (event.cancelled) return
    this.#nowMs = Math.max(this.#nowMs, event.atMs)
    event.happen()
  }

  // A binary heap: the parent of i is (i - 1) >> 1.
  #push(event: Event): void {
    const heap = this.#events
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(heap[at]!, heap[parent]!)) break
      ;[heap[at], heap[parent]] = [heap[parent]!, heap[at]!]
      at = parent
    }
  }

  #pop(): Event | undefined {
    const heap = this.#events
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    heap[0] = last
    for (let at = 0; ;) {
      const left = 2 * at + 1
      const right = left + 1
      let least = at
      if (left < heap.length && isBefore(heap[left]!, heap[least]!)) least = left
      if (right < heap.length && isBefore(heap[right]!, heap[least]!)) least = right
      if (least === at) return first
      ;[heap[at], heap[least]] = [heap[least]!, heap[at]!]
      at = least
    }
  }
}

const isBefore = (left: Event, right: Event): boolean =>
  left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order)
