import { Cause, Context, Effect, Layer, Logger, type LogLevel, Option, Redacted, References, Schema, Tracer } from "effect"
import { withoutCredentials } from "./credential.ts"

/** One log line: who says it, when, how loudly, what; then the names around it, such as `jobId` or `story`. */
export type LogLine = { readonly [field: string]: unknown }

/** Fields whose value is never shown, whatever it looks like. */
const SECRET_FIELD = /^(?:authorization|cookie|set-cookie|.*(?:pass(?:word|wd|phrase)|secret|credential|api[_-]?key|private[_-]?key|(?:^|[_-])token))$/iu

const DEPTH_MAX = 6
const ENTRIES_MAX = 100
const TEXT_MAX = 16_384

/**
 * A value as it may be logged: plain, bounded in depth, size and length, without `Redacted` values,
 * secret fields and whatever looks like a credential.
 */
export const loggable = (value: unknown, depth = 0): unknown => {
  if (typeof value === "string") return text(value)
  if (typeof value === "bigint" || typeof value === "symbol") return String(value)
  if (typeof value === "function") return "<function>"
  if (typeof value !== "object" || value === null) return value
  if (Redacted.isRedacted(value)) return "<redacted>"
  if (Cause.isCause(value)) return text(Cause.pretty(value))
  if (value instanceof Error) return { error: tagged(value) ?? value.name, message: text(value.message) }
  if (ArrayBuffer.isView(value)) return `<${value.byteLength} bytes>`
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "<no date>" : value.toISOString()
  if (depth >= DEPTH_MAX) return "<deeper>"
  if (Array.isArray(value)) return value.slice(0, ENTRIES_MAX).map((item) => loggable(item, depth + 1))
  if (value instanceof Map || value instanceof Set) return loggable([...value], depth)
  return Object.fromEntries(
    Object.entries(value).slice(0, ENTRIES_MAX).map(([field, item]) => [
      text(field),
      SECRET_FIELD.test(field) && item !== undefined && item !== null ? "<redacted>" : loggable(item, depth + 1)
    ])
  )
}

const text = (value: string): string =>
  withoutCredentials(value.length <= TEXT_MAX ? value : `${value.slice(0, TEXT_MAX)}... (${value.length} characters)`)

const tagged = (error: Error): string | undefined => "_tag" in error ? String(error._tag) : undefined

/** What one call of a logger says, as one flat line. */
export const lineOf = ({ cause, date, fiber, logLevel, message }: Logger.Options<unknown>): LogLine => {
  const [first, ...rest] = Array.isArray(message) ? message : [message]
  const about = typeof first === "string" ? rest : [first, ...rest]
  const span = Option.getOrUndefined(Context.getOption(fiber.context, Tracer.ParentSpan))
  return {
    time: date.toISOString(),
    level: logLevel.toLowerCase(),
    ...(typeof first === "string" ? { message: loggable(first) } : {}),
    ...(loggable(fiber.getRef(References.CurrentLogAnnotations)) as LogLine),
    ...(about.length === 0 ? {} : { about: loggable(about.length === 1 ? about[0] : about) }),
    ...(span === undefined ? {} : { trace: span.traceId, span: span.spanId }),
    ...(cause.reasons.length === 0 ? {} : { cause: loggable(cause) })
  }
}

/** A line for a person at a terminal: the time of day, the level, the message, then what is around it. */
export const prettyOf = ({ cause, level, message = "", time, ...around }: LogLine): string => {
  const words = Object.entries(around).map(([field, value]) => `${field}=${typeof value === "string" ? value : JSON.stringify(value)}`)
  const line = [String(time).slice(11, 23), String(level).toUpperCase().padEnd(5), String(message), ...words].join(" ")
  return cause === undefined ? line : `${line}\n${String(cause)}`
}

/** `auto` is `pretty` where stderr is a terminal, and `json` elsewhere. */
export const LogFormat = Schema.Literals(["auto", "json", "pretty"])
export type LogFormat = typeof LogFormat.Type

/**
 * Logs to stderr, one line an event, with these fields on every line. Everything passes `loggable`, so
 * a secret that strays into a message, a cause or an annotation is masked.
 */
export const logsLayer = (
  { fields, format, level }: {
    readonly format: LogFormat
    readonly level: LogLevel.LogLevel
    readonly fields: Readonly<Record<string, string>>
  }
): Layer.Layer<never> => {
  const print = format === "pretty" || (format === "auto" && process.stderr.isTTY) ? prettyOf : (line: LogLine) => JSON.stringify(line)
  const logger = Logger.make((options: Logger.Options<unknown>) => void process.stderr.write(`${print(lineOf(options))}\n`))
  return Layer.mergeAll(
    Logger.layer([logger]),
    Layer.succeed(References.MinimumLogLevel, level),
    annotated(fields)
  )
}

/** Everything in a layer that is provided with this logs these fields, also from its background fibers. */
export const annotated = (fields: Readonly<Record<string, string>>): Layer.Layer<never> =>
  Layer.effect(
    References.CurrentLogAnnotations,
    Effect.map(References.CurrentLogAnnotations, (around) => ({ ...around, ...fields }))
  )
