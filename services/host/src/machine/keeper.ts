import { type AttemptId } from "@millrace/schemas"
import { Context, Effect, Layer, Schema } from "effect"
import { endEarlier, findKeeper, type FoundKeeper, startKeeper } from "./keeper-start.ts"
import type { Answer, Ask, ExitRecord, Kept, Order } from "./keeper-words.ts"
import { CannotStart } from "./runtime.ts"

export type { ExitRecord, Kept, Order } from "./keeper-words.ts"

/** The keeper is gone, and with it all that it kept. */
export class KeeperLost extends Schema.TaggedError<KeeperLost>()("KeeperLost", { folder: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The keeper in ${this.folder} is gone, and the work that it kept was ended: ${this.detail}. The next start of work starts another one`
  }
}

const graceMs = 2_000

/**
 * The parent of all work on this host: a process apart from the agent, which outlives it. Work that it
 * starts is killed at its deadline unless the agent has moved that away, and dies with the keeper.
 */
export class Keeper extends Context.Service<Keeper, {
  /** Starts work, once for each attempt: asked again it tells what runs already. */
  readonly spawn: (order: Order) => Effect.Effect<Kept, CannotStart | KeeperLost>
  /** Moves deadlines away, in host-monotonic ms; never nearer. What it does not know it passes over. */
  readonly extend: (deadlines: ReadonlyArray<{ readonly attemptId: AttemptId; readonly deadlineMs: number }>) => Effect.Effect<void, KeeperLost>
  /** SIGTERM, the kill after the grace (2 s unless said; 0 kills at once), and the end. Undefined: it knows no such attempt. */
  readonly stop: (attemptId: AttemptId, graceMs?: number) => Effect.Effect<ExitRecord | undefined, KeeperLost>
  /** What runs, and what is over and was not yet forgotten. */
  readonly list: Effect.Effect<ReadonlyArray<Kept>, KeeperLost>
  /** Waits for the end. Undefined: it knows no such attempt. */
  readonly wait: (attemptId: AttemptId) => Effect.Effect<ExitRecord | undefined, KeeperLost>
  /** The end was told: it need not be remembered. The files in its folder stay, and are the caller's to remove. */
  readonly forget: (attemptId: AttemptId) => Effect.Effect<void>
  /** Ends all that runs, and the keeper itself. */
  readonly end: Effect.Effect<void>
}>()("millrace/host/Keeper") {
  /**
   * The keeper of this folder: found if one serves it, else started. When the scope closes, `leave` lets
   * what runs run on for the next agent to take up; `end` leaves nothing behind.
   */
  static readonly layer = (folder: string, { atClose }: { readonly atClose: "leave" | "end" }): Layer.Layer<Keeper> =>
    Layer.effect(Keeper, Effect.acquireRelease(
      Effect.promise(() => KeeperClient.open(folder)),
      (client) => Effect.andThen(atClose === "end" ? client.end : Effect.void, Effect.sync(() => client.close()))
    ).pipe(Effect.map((client) => client.service)))
}

class KeeperClient {
  readonly #folder: string
  #found: FoundKeeper | undefined
  #opening: Promise<FoundKeeper> | undefined
  #closed = false

  constructor(folder: string) {
    this.#folder = folder
  }

  static async open(folder: string): Promise<KeeperClient> {
    const client = new KeeperClient(folder)
    await client.#reach()
    return client
  }

  close(): void {
    this.#closed = true
    this.#found?.line.close()
  }

  readonly service: Keeper["Service"] = {
    spawn: (order) =>
      Effect.flatMap(this.#ask({ _tag: "Spawn", order }), (answer) => {
        const kept = answer._tag === "Known" ? answer.kept[0] : undefined
        if (kept !== undefined) return Effect.succeed(kept)
        return Effect.fail(new CannotStart({ runtime: "keeper", detail: answer._tag === "Refused" ? answer.detail : `the keeper answered ${answer._tag}` }))
      }),
    extend: (deadlines) => deadlines.length === 0 ? Effect.void : Effect.asVoid(this.#ask({ _tag: "Extend", deadlines })),
    stop: (attemptId, ms = graceMs) => Effect.map(this.#ask({ _tag: "Stop", attemptId, graceMs: ms }), exitIn),
    list: Effect.map(Effect.suspend(() => this.#ask({ _tag: "List" })), (answer) => answer._tag === "Known" ? answer.kept : []),
    wait: (attemptId) => Effect.map(this.#ask({ _tag: "Wait", attemptId }), exitIn),
    forget: (attemptId) => Effect.ignore(this.#ask({ _tag: "Forget", attemptId })),
    end: Effect.suspend(() => this.end)
  }

  /** A keeper that does not end in time is ended, with all that it kept. */
  get end(): Effect.Effect<void> {
    return Effect.promise(async () => {
      if (this.#closed) return
      this.#closed = true
      const found = this.#found ?? await findKeeper(this.#folder)
      if (found === undefined) return endEarlier(this.#folder)
      const ended = await found.line.askWithin({ _tag: "End", graceMs }, graceMs + 10_000)
      if (ended === undefined) await endEarlier(this.#folder)
    })
  }

  #ask(ask: Ask): Effect.Effect<Answer, KeeperLost> {
    return Effect.callback((resume) => {
      let takeBack: (() => void) | undefined
      let taken = false
      const fail = (cause: unknown) =>
        resume(Effect.fail(new KeeperLost({ folder: this.#folder, detail: cause instanceof Error ? cause.message : String(cause) })))
      const answered = (answer: Answer | undefined) => answer === undefined ? fail("it hung up") : resume(Effect.succeed(answer))
      if (this.#found !== undefined) takeBack = this.#found.line.ask(ask, answered)
      else {
        this.#reach().then(({ line }) => {
          if (!taken) takeBack = line.ask(ask, answered)
        }, fail)
      }
      return Effect.sync(() => {
        taken = true
        takeBack?.()
      })
    })
  }

  /** One attempt at a time to find or start it, whoever asks. */
  #reach(): Promise<FoundKeeper> {
    return this.#opening ??= (async () => {
      if (this.#closed) throw new Error("this agent has let go of it")
      const found = await findKeeper(this.#folder) ?? await startKeeper(this.#folder)
      this.#found = found
      found.line.onClose(() => void this.#hungUp(found))
      return found
    })().finally(() => void (this.#opening = undefined))
  }

  /** Hanging up need not be dying: whoever is still there is asked again. With the keeper gone, what it kept is ended before anybody is told. */
  async #hungUp({ line, pid }: FoundKeeper): Promise<void> {
    this.#found = undefined
    if (this.#closed) return
    const again = await findKeeper(this.#folder)
    if (again?.pid === pid) {
      this.#found = again
      again.line.onClose(() => void this.#hungUp(again))
      for (const { answered, ask } of line.pending) again.line.ask(ask, answered)
      return
    }
    again?.line.close()
    if (again === undefined) await endEarlier(this.#folder)
    for (const { answered } of line.pending) answered(undefined)
  }
}

const exitIn = (answer: Answer): ExitRecord | undefined => answer._tag === "Over" ? answer.exit : undefined
