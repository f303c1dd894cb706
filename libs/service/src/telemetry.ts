import { Layer } from "effect"
import { FetchHttpClient, HttpBody } from "effect/http"
import { OtlpSerialization, OtlpTracer } from "effect/observability"
import { loggable } from "./logs.ts"

/**
 * Sends the spans of one service to an OpenTelemetry collector, as OTLP over HTTP with JSON
 * (https://opentelemetry.io/docs/specs/otlp/#otlphttp). Span attributes and errors are masked as log lines
 * are. A collector that does not answer costs spans, never work: what is unsent after 2 s at the end is dropped.
 */
export const telemetryLayer = (
  { cell, endpoint, service, sendEvery = "5 seconds" }: {
    /** `OTEL_EXPORTER_OTLP_ENDPOINT`; without it nothing is sent. */
    readonly endpoint: string | undefined
    readonly service: string
    readonly cell: string
    readonly sendEvery?: "1 second" | "5 seconds"
  }
): Layer.Layer<never> =>
  endpoint === undefined || endpoint === "" ? Layer.empty : OtlpTracer.layer({
    url: `${endpoint.replace(/\/+$/u, "")}/v1/traces`,
    resource: { serviceName: service, attributes: { "millrace.cell": cell } },
    exportInterval: sendEvery,
    shutdownTimeout: "2 seconds"
  }).pipe(Layer.provide([FetchHttpClient.layer, masking]))

/** JSON whose strings have passed the same mask as log lines. */
const masking = Layer.succeed(OtlpSerialization.OtlpSerialization, {
  traces: (data) => json(data),
  metrics: (data) => json(data),
  logs: (data) => json(data)
})

const json = (data: unknown) => HttpBody.text(JSON.stringify(maskedDeep(data)), "application/json")

const maskedDeep = (data: unknown): unknown =>
  typeof data === "string"
    ? loggable(data)
    : Array.isArray(data)
    ? data.map(maskedDeep)
    : typeof data === "object" && data !== null
    ? Object.fromEntries(Object.entries(data).map(([field, item]) => [field, maskedDeep(item)]))
    : data
