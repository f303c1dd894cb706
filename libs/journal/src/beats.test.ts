import { Effect, Layer } from "effect"
import { beatsInMemory } from "./beats.ts"
import { beatsKeepTheirPromises, BeatsUnderTest } from "./testing/beats-promises.ts"

beatsKeepTheirPromises("beats in memory", Layer.effect(BeatsUnderTest, Effect.map(beatsInMemory, (beats) => ({ host: beats, scheduler: beats }))))
