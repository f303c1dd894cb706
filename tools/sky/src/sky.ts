import { Clock, Effect, Schema, type Scope } from "effect"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { Books } from "./books.ts"
import { type LambdaAccount, type Answer, LambdaApi } from "./lambda-api.ts"
import { dark, type Power } from "./machines.ts"
import { Sky, WeatherChange, type Weather } from "./weather.ts"

export interface SkyOptions {
  /** 0, as by default, takes a free one. */
  readonly port?: number
  readonly apiKey: string
  readonly sshKeys?: ReadonlyArray<string>
  readonly weather?: Partial<Weather>
  /** Other limits than the documented ones, in ms: tests have no twelve seconds a machine. */
  readonly everyMs?: LambdaAccount["everyMs"]
  readonly bootMs?: number
  /** From the request to end a machine until it is gone, in ms. */
  readonly endMs?: number
  /** What runs on the machines. `dark`, as by default: nothing. */
  readonly power?: Power
}

/** A pretend cloud that runs. */
export interface RunningSky {
  /** The endpoint to give a broker: it speaks Lambda's Cloud API. */
  readonly url: string
  readonly books: Books
  readonly weather: Sky
  readonly api: LambdaApi
}

const bodyBytesMax = 2_000_000
const decodeChange = Schema.decodeUnknownSync(Schema.fromJsonString(WeatherChange), { onExcessProperty: "error" })

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Array<Buffer> = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > bodyBytesMax) throw new Error("the body is too large")
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString("utf8")
}

const send = (response: ServerResponse, { body, headers = {}, status }: Answer): void => {
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(JSON.stringify(body, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value)))
}

const machineIn = (body: string): string | undefined => {
  try {
    const { machine } = JSON.parse(body) as { readonly machine?: unknown }
    return typeof machine === "string" ? machine.slice(0, 200) : undefined
  } catch {
    return undefined
  }
}

/**
 * Runs a pretend Lambda Cloud on 127.0.0.1 for as long as the scope lives. `/sky/weather` (GET, POST),
 * `/sky/ledger` (GET) and `/sky/crash` (POST) are its own; everything else is the vendor's API.
 */
export const startSky = Effect.fnUntraced(function*({
  apiKey, bootMs = 0, endMs = 0, everyMs = { any: 1_000, launch: 12_000 }, port = 0, power = dark, sshKeys = ["millrace"], weather
}: SkyOptions): Effect.fn.Return<RunningSky, Error, Scope.Scope> {
  const clock = yield* Clock.Clock
  const books = new Books()
  const sky = new Sky(weather)
  const api = new LambdaApi({ apiKey, sshKeys, everyMs, bootMs, endMs }, books, sky, power.on, power.off)

  const own = (path: string, method: string, body: string): Answer => {
    if (path === "/sky/ledger" && method === "GET") {
      const atMs = clock.currentTimeMillisUnsafe()
      return { status: 200, body: { running: books.running.map(({ id, name, stands }) => ({ id, name, stands })), bills: books.bills(atMs), tooFast: api.tooFast } }
    }
    if (path === "/sky/crash" && method === "POST") {
      const machine = machineIn(body)
      return machine !== undefined && power.crash(machine)
        ? { status: 200, body: { machine } }
        : { status: 404, body: { error: { code: "sky/unknown", message: `no machine ${machine ?? "of that name"} runs here` } } }
    }
    if (path !== "/sky/weather") return { status: 404, body: { error: { code: "sky/unknown", message: "the sky has /sky/weather, /sky/ledger and /sky/crash" } } }
    if (method === "GET") return { status: 200, body: sky.now }
    try {
      return { status: 200, body: sky.set(decodeChange(body) as Partial<Weather>) }
    } catch (error) {
      return { status: 400, body: { error: { code: "sky/malformed", message: String(error) } } }
    }
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = new URL(request.url ?? "/", "http://sky").pathname
    const body = await bodyOf(request)
    const method = request.method ?? "GET"
    if (path.startsWith("/sky/")) return send(response, own(path, method, body))
    const answer = api.answer({ method, path, body, authorization: request.headers.authorization ?? "", atMs: clock.currentTimeMillisUnsafe() })
    if (sky.now.slowMs > 0) await new Promise((resolve) => setTimeout(resolve, sky.now.slowMs))
    if (answer.cut === true) response.destroy()
    else send(response, answer)
  }

  const server = yield* Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>, Error>((resume) => {
      const made = createServer((request, response) => void handle(request, response).catch(() => response.destroy()))
      made.once("error", (error) => resume(Effect.fail(error)))
      made.listen(port, "127.0.0.1", () => resume(Effect.succeed(made)))
    }),
    (made) => Effect.promise(async () => {
      made.closeAllConnections()
      await new Promise<void>((resolve) => made.close(() => resolve()))
      await power.allOff()
    })
  )
  const address = server.address()
  return { url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : port}`, books, weather: sky, api }
})
