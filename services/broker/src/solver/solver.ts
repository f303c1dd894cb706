import { Clock, Context, Effect, Layer, Schema, type Scope, Semaphore } from "effect"
import { Worker } from "node:worker_threads"
import type { Choosing } from "../domain/plan/choose.ts"
import type { Plan } from "../domain/plan/plan.ts"
import type { Answer, Ask } from "../domain/plan/program.ts"

/** The solver gave no answer. Nothing is lost but the answer: the next ask starts a new thread. */
export class SolverFailed extends Schema.TaggedError<SolverFailed>()("SolverFailed", {
  detail: Schema.String
}) {
  override get message() {
    return `the solver gave no answer: ${this.detail}. The plan that was found without it stands; the next one starts a new solver`
  }
}

/** Loading the solver takes half a second on an idle machine. */
const startMsMax = 30_000
/** How much longer than it was allowed a solver may take until its thread is ended. */
const graceMs = 10_000

interface Thread {
  readonly worker: Worker
  readonly ready: Promise<void>
  /** It has ended, perhaps between two asks: nobody will hear from it any more. */
  gone: boolean
}

const start = (): Thread => {
  const worker = new Worker(new URL("./solver-thread.ts", import.meta.url))
  worker.unref()
  const ready = new Promise<void>((resolve, reject) => {
    worker.once("message", () => resolve())
    worker.once("error", reject)
    worker.once("exit", (code) => reject(new Error(`its thread ended with ${code}`)))
  })
  // Whoever asks hears of it; until then nobody has to.
  ready.catch(() => undefined)
  const thread: Thread = { worker, ready, gone: false }
  worker.once("exit", () => {
    thread.gone = true
  })
  // One that ends while nobody asks must not end the process.
  worker.on("error", () => undefined)
  return thread
}

/** Solves programs in a thread of its own, one at a time. */
export class Solver extends Context.Service<Solver, {
  readonly solve: (ask: Ask) => Effect.Effect<Answer, SolverFailed>
  /** Carries a choice through: each question is answered in turn; one that gets no answer in time is answered by "none". */
  readonly choose: (choosing: Choosing) => Effect.Effect<Plan>
  /** The thread's number, for tests that end it. Undefined: none runs now. */
  readonly thread: Effect.Effect<Worker | undefined>
}>()("millrace/Solver") {
  static readonly layer: Layer.Layer<Solver> = Layer.effect(Solver, Effect.suspend(() => makeSolver))
}

const makeSolver: Effect.Effect<Solver["Service"], never, Scope.Scope> = Effect.gen(function*() {
  let thread: Thread | undefined
  let number = 0
  const inTurn = yield* Semaphore.make(1)

  const end = Effect.suspend(() => {
    const ended = thread
    thread = undefined
    return ended === undefined ? Effect.void : Effect.promise(() => ended.worker.terminate())
  })

  const ready = Effect.suspend(() => {
    if (thread === undefined || thread.gone) thread = start()
    const { ready, worker } = thread
    return Effect.tryPromise({ try: () => ready, catch: (error) => new SolverFailed({ detail: String(error) }) }).pipe(
      Effect.timeoutOrElse({ duration: startMsMax, orElse: () => Effect.fail(new SolverFailed({ detail: `it did not start within ${startMsMax} ms` })) }),
      Effect.as(worker)
    )
  })

  const answered = (worker: Worker, ask: Ask): Effect.Effect<Answer, SolverFailed> =>
    Effect.callback<Answer, SolverFailed>((resume) => {
      number += 1
      const own = number
      const leave = () => void worker.off("message", onMessage).off("error", onError).off("exit", onExit)
      const settle = (answer: Effect.Effect<Answer, SolverFailed>) => {
        leave()
        resume(answer)
      }
      const failed = (detail: string) => settle(Effect.fail(new SolverFailed({ detail })))
      const onMessage = (message: { readonly number: number; readonly answer?: Answer; readonly failed?: string }) => {
        if (message.number !== own) return
        if (message.answer === undefined) failed(message.failed ?? "it said nothing")
        else settle(Effect.succeed(message.answer))
      }
      const onError = (error: unknown) => failed(String(error))
      const onExit = (code: number) => failed(`its thread ended with ${code}`)
      worker.on("message", onMessage).on("error", onError).on("exit", onExit)
      worker.postMessage({ number: own, ask })
      return Effect.sync(leave)
    })

  const solve = (ask: Ask): Effect.Effect<Answer, SolverFailed> =>
    inTurn.withPermits(1)(Effect.gen(function*() {
      const worker = yield* ready
      return yield* answered(worker, ask).pipe(
        Effect.timeoutOrElse({ duration: ask.msMax + graceMs, orElse: () => Effect.fail(new SolverFailed({ detail: `it took longer than ${ask.msMax} ms and did not stop` })) })
      )
      // A thread that failed, or that computes what nobody waits for any more, is not asked again.
    }).pipe(Effect.onExit((exit) => (exit._tag === "Success" ? Effect.void : end))))

  const choose = (choosing: Choosing): Effect.Effect<Plan> => Effect.gen(function*() {
    let sinceMs = yield* Clock.currentTimeMillis
    let step = choosing.next()
    while (step.done !== true) {
      const answer = yield* solve(step.value).pipe(Effect.catch((error) => Effect.as(Effect.logWarning(error.message), nothing)))
      const nowMs = yield* Clock.currentTimeMillis
      // What was thought beside the solver counts, too: patience is about all of it.
      step = choosing.next({ ...answer, tookMs: Math.max(answer.tookMs, nowMs - sinceMs) })
      sinceMs = nowMs
    }
    return step.value
  })

  // Loaded before it is first asked: the half second is better spent now. Where that fails, the first ask says so.
  yield* Effect.sync(() => (thread ??= start()))
  yield* Effect.addFinalizer(() => end)
  return Solver.of({ solve, choose, thread: Effect.sync(() => thread?.worker) })
})

const nothing: Answer = { status: "none", values: new Float64Array(), reduced: new Float64Array(), objective: Infinity, bound: -Infinity, tookMs: 0 }
