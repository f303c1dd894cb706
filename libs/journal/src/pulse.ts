import { Context, Effect, PubSub, type Scope, Stream } from "effect"

/** How far a service's stream had come, by its own clock. A moment's word: lost ones are not missed. */
export interface Beat {
  readonly headSeq: number
  /** ms since 1970, by the clock of whoever beats. */
  readonly atMs: number
}

/**
 * Services say every moment how far their stream is, so that whoever keeps a view of it knows how old the
 * view is. Nothing of it is stored; a beat that is lost makes a view seem older, never younger.
 */
export class Pulse extends Context.Service<Pulse, {
  /** Says how far this service's stream is. Never fails: an unheard beat is as good as none. */
  readonly beat: (beat: Beat) => Effect.Effect<void>
  /** Hears what a service beats from now on, for as long as the scope lives. A slow listener misses some. */
  readonly heard: (service: string) => Effect.Effect<Stream.Stream<Beat>, never, Scope.Scope>
}>()("millrace/Pulse") {}

/** Pulses within one process: what each of the given services beats, the others hear. */
export const pulsesInMemory = Effect.map(PubSub.sliding<{ readonly service: string; readonly beat: Beat }>(16), (hub) =>
  (service: string): Pulse["Service"] => ({
    beat: (beat) => Effect.asVoid(PubSub.publish(hub, { service, beat })),
    heard: (of) =>
      Effect.map(PubSub.subscribe(hub), (subscription) =>
        Stream.fromSubscription(subscription).pipe(
          Stream.filter((said) => said.service === of),
          Stream.map((said) => said.beat)
        ))
  }))
