import { Effect, Exit } from "effect"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { afterEach, assert, describe, it } from "vitest"
import { apiClient } from "./client.ts"
import { originOf } from "./origin.ts"
import { followOutput, type Said } from "./output.ts"
import { Trouble } from "./trouble.ts"

type Answer = (request: IncomingMessage, response: ServerResponse) => void

const servers: Array<() => Promise<void>> = []
afterEach(async () => {
  for (const stop of servers.splice(0)) await stop()
})

/** A server that gives these answers in turn, and the last one again and again. */
const answering = (...answers: ReadonlyArray<Answer>): Promise<{ readonly url: string; readonly requests: ReadonlyArray<IncomingMessage> }> =>
  new Promise((settle) => {
    const requests: Array<IncomingMessage> = []
    const server = createServer((request, response) => {
      requests.push(request)
      answers[Math.min(requests.length, answers.length) - 1]!(request, response)
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address() as { readonly port: number }
      servers.push(() => new Promise((stopped) => {
        server.closeAllConnections()
        server.close(() => stopped())
      }))
      settle({ url: `http://127.0.0.1:${address.port}`, requests })
    })
  })

const json = (status: number, body: unknown, headers = {}): Answer => (_, response) => void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))
const away = (code: string) => json(503, { _tag: "Unavailable", code, what: "it is away", where: "there", remedy: "wait" })
const cutOff: Answer = (_, response) => void response.destroy()

const asked = (url: string, waitMsMax: number, notes: Array<string> = []) =>
  Effect.runPromiseExit(Effect.flatMap(originOf({ url, token: "mill_x" }, { waitMsMax, note: (text) => notes.push(text) }), ({ send }) => send<unknown>("POST", "/v1/grants", { body: {} })))

describe("an API that is away", () => {
  it("is asked again, with the same key, until it answers; and that is said once", async () => {
    const { requests, url } = await answering(away("log_unavailable"), cutOff, json(429, { code: "too_many_requests" }), json(200, { askId: "ask_1" }))
    const notes: Array<string> = []
    assert.deepStrictEqual(await asked(url, 20_000, notes), Exit.succeed({ askId: "ask_1" }))
    assert.strictEqual(requests.length, 4)
    assert.strictEqual(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size, 1)
    assert.isAtLeast(requests[0]!.headers["idempotency-key"]!.length, 16)
    assert.strictEqual(notes.length, 1)
    assert.match(notes[0]!, /lacks a part of the cell \(it is away\); asking again for up to 20 s/u)
  })

  it("is given up in its own words when patience ends, and at once where waiting changes nothing", async () => {
    const [patient, notMounted] = [await answering(away("log_unavailable")), await answering(away("not_mounted"))]
    const codeOf = (exit: Exit.Exit<unknown, Trouble>) => Exit.isFailure(exit) ? (exit.cause.reasons[0] as unknown as { error: Trouble }).error : undefined
    const [first, second] = [codeOf(await asked(patient.url, 500)), codeOf(await asked(notMounted.url, 60_000))]
    assert.deepInclude(first, { code: "log_unavailable", ending: "unavailable", remedy: "wait" })
    assert.isAtLeast(patient.requests.length, 2)
    assert.deepInclude(second, { code: "not_mounted", ending: "unavailable" })
    assert.strictEqual(notMounted.requests.length, 1)
  })

  it("that refuses is not asked again, and a page that is none of ours is told so", async () => {
    const refusing = await answering(json(403, { _tag: "Forbidden", code: "capability_missing", what: "no", where: "here", remedy: "ask", missing: { action: "grant.issue" } }))
    const stranger = await answering((_, response) => void response.writeHead(404, { "content-type": "text/html" }).end("<h1>nothing here</h1>"))
    const [refused, strange] = [await asked(refusing.url, 60_000), await asked(stranger.url, 60_000)]
    assert.strictEqual(refusing.requests.length, 1)
    assert.isTrue(Exit.isFailure(refused) && Exit.isFailure(strange))
    assert.include(JSON.stringify(refused), "\"missing\":{\"action\":\"grant.issue\"}")
    assert.include(JSON.stringify(strange), "api_strange")
  })
})

describe("a line that breaks while output is followed", () => {
  const events = (...said: ReadonlyArray<readonly [id: string, name: string, data: unknown]>) =>
    said.map(([id, name, data]) => `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join("")
  const stream = (text: string, end: (response: ServerResponse) => void): Answer => (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write(`: millrace\n\n${text}`, () => end(response))
  }

  it("is taken up again behind what was told: nothing twice, nothing missed", async () => {
    const { requests, url } = await answering(
      // Half an event is in flight when the line breaks: it is told by the next line.
      stream(`${events(["1:0", "attempt", { attempt: 1 }], ["1:3", "output", { text: "one" }])}id: 1:6\nevent: outp`, (response) => setTimeout(() => response.destroy(), 50)),
      away("busy"),
      stream(events(["1:6", "output", { text: "two" }], ["1:8", "output", { base64: Buffer.from([0xff, 0x00]).toString("base64") }]), (response) => response.end()),
      stream(events(["1:8", "end", { outcome: "succeeded", exitCode: 0, attempt: 1, droppedBytes: 0 }]), () => undefined)
    )
    const said: Array<Said> = []
    await Effect.runPromise(Effect.flatMap(apiClient({ url, token: "mill_x" }), (client) => followOutput(client, "job_x", { stream: "stdout", follow: true, hand: (one) => said.push(one) })))
    assert.deepStrictEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "1:3", "1:3", "1:8"])
    assert.deepStrictEqual(said.map((one) => one.kind), ["attempt", "output", "output", "output", "end"])
    assert.deepStrictEqual(Buffer.concat(said.flatMap((one) => (one.kind === "output" ? [one.bytes] : []))), Buffer.concat([Buffer.from("onetwo"), Buffer.from([0xff, 0x00])]))
  })

  it("is not waited for where only what there is was asked for", async () => {
    const { requests, url } = await answering(stream(events(["1:3", "output", { text: "one" }]), (response) => response.end()))
    const said: Array<Said> = []
    await Effect.runPromise(Effect.flatMap(apiClient({ url, token: "mill_x" }), (client) => followOutput(client, "job_x", { stream: "stderr", follow: false, hand: (one) => said.push(one) })))
    assert.deepStrictEqual([requests.length, said.length], [1, 1])
    assert.match(requests[0]!.url!, /stream=stderr&follow=false/u)
  })
})
