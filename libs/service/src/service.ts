import { Config, Duration, Effect, Layer, Metric, Schema } from "effect"
import { crashPointsLayer } from "./crash-env.ts"
import { annotated, LogFormat } from "./logs.ts"
import { Readiness } from "./readiness.ts"
import { setting } from "./settings.ts"
import { telemetryLayer } from "./telemetry.ts"

/** A service: its settings, and everything it does, as a layer over them. */
export interface Service<in out A, out E> {
  /** One word: a field of every log line, and the name of its traces. */
  readonly name: string
  readonly config: Config.Config<A>
  readonly layer: (settings: A) => Layer.Layer<never, E, Readiness>
}

/** Names a service. `services/x/src/service.ts` exports one; `main.ts` runs it, alone or with others. */
export const service = <A, E>(whole: Service<A, E>): Service<A, E> => whole

/** Several services in one process: each has its own settings, log fields and traces; they start together. */
export const together = <A, E, A2, E2>(
  name: string,
  one: Service<A, E>,
  other: Service<A2, E2>,
  ...more: ReadonlyArray<Service<any, any>>
): Service<any, any> => {
  const all: ReadonlyArray<Service<any, any>> = [one, other, ...more]
  return {
    name,
    config: Config.all([processConfig, ...all.map(({ config }) => config)]),
    layer: ([process, ...settings]: ReadonlyArray<any>) =>
      all.map((each, at) => serviceLayer(each, settings[at], process)).reduce((some, next) => Layer.merge(some, next))
  }
}

const HealthPort = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))

/** The settings that every process of ours has. */
export const processConfig = Config.all({
  cell: setting("MILLRACE_CELL", { purpose: "the cell it belongs to", wants: "a name", read: Config.NonEmptyString, default: "local" }),
  healthHost: setting("MILLRACE_HEALTH_HOST", {
    purpose: "where /healthz, /readyz and /metrics are served",
    wants: "an address of this machine",
    read: Config.NonEmptyString,
    default: "127.0.0.1"
  }),
  healthPort: setting("MILLRACE_HEALTH_PORT", {
    purpose: "their port; 0 takes a free one and logs it",
    wants: "a port number from 0 to 65535",
    read: (name) => Config.schema(HealthPort, name),
    default: 0
  }),
  logFormat: setting("MILLRACE_LOG_FORMAT", {
    purpose: "how log lines look; auto is pretty on a terminal",
    wants: "auto, json or pretty",
    read: (name) => Config.schema(LogFormat, name),
    default: "auto"
  }),
  logLevel: setting("MILLRACE_LOG_LEVEL", {
    purpose: "the least level that is logged",
    wants: "Trace, Debug, Info, Warn, Error, Fatal or None",
    read: Config.LogLevel,
    default: "Info"
  }),
  stopWithin: setting("MILLRACE_STOP_WITHIN", {
    purpose: "how long it may take to stop",
    wants: "a length of time such as 10 seconds",
    read: Config.Duration,
    default: Duration.seconds(10)
  }),
  otlpEndpoint: setting("OTEL_EXPORTER_OTLP_ENDPOINT", {
    purpose: "the OpenTelemetry collector that gets the traces",
    wants: "an address such as http://127.0.0.1:4318",
    read: (name) => Config.map(Config.URL(name), String),
    default: undefined
  }),
  faults: Config.map(
    setting("MILLRACE_FAULTS", {
      purpose: "1 allows the two below; for fault tests alone",
      wants: "0 or 1",
      read: (name) => Config.Literals(["0", "1"], name),
      default: "0"
    }),
    (text) => text === "1"
  ),
  crashAt: setting("MILLRACE_CRASH_AT", {
    purpose: "the crash point, and at which passing, where SIGKILL comes",
    wants: "the name of a point, or name#n, or @ and the path of a file that will hold it",
    read: Config.NonEmptyString,
    default: undefined
  }),
  crashLog: setting("MILLRACE_CRASH_LOG", {
    purpose: "the file that gets the name of each crash point passed",
    wants: "a path",
    read: Config.NonEmptyString,
    default: undefined
  })
})
export type ProcessSettings = Config.Success<typeof processConfig>

const up = Metric.gauge("millrace_service_up", { description: "1 for each service of this process that has started" })

/**
 * A service over its settings, ready to be merged with others: its log lines and traces carry its name, it
 * counts as not ready until all of it has started, and fault tests reach its crash points.
 */
export const serviceLayer = <A, E>(
  { layer, name }: Service<A, E>,
  settings: A,
  { cell, crashAt, crashLog, faults, otlpEndpoint }: ProcessSettings
): Layer.Layer<never, E, Readiness> => {
  const started = Layer.effectDiscard(Effect.andThen(
    Metric.update(Metric.withAttributes(up, { service: name }), 1),
    Readiness.use((readiness) => readiness.ready(name))
  ))
  return started.pipe(
    Layer.provideMerge(layer(settings)),
    Layer.provide(Layer.effectDiscard(Readiness.use((readiness) => readiness.notReady(name, "it is starting")))),
    Layer.provide(Layer.mergeAll(
      annotated({ service: name }),
      telemetryLayer({ endpoint: otlpEndpoint, service: name, cell }),
      crashPointsLayer({ faults, crashAt, crashLog })
    ))
  )
}
