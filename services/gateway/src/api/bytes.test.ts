import { readable } from "@millrace/journal"
import { namedId } from "@millrace/decider"
import { type AttemptId, type Digest, HostId, type JobId, WorkspaceName } from "@millrace/schemas"
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { createHash, randomBytes } from "node:crypto"
import { type IncomingHttpHeaders, request } from "node:http"
import { acme, BytesCell, followLog, hostId } from "../testing/bytes-cell.ts"

const ask = Effect.fnUntraced(function*(method: string, path: string, { body, headers = {}, token = "owner" }: {
  readonly body?: Uint8Array<ArrayBuffer>
  readonly headers?: Record<string, string>
  readonly token?: string
} = {}) {
  const { url } = yield* BytesCell
  return yield* Effect.promise(async () => {
    const answer = await fetch(`${url}${path}`, { method, headers: { authorization: `Bearer ${token}`, ...headers }, ...(body === undefined ? {} : { body }) })
    const bytes = Buffer.from(await answer.arrayBuffer())
    return { status: answer.status, headers: answer.headers, bytes, json: () => JSON.parse(bytes.toString()) }
  })
})

/** A path that is sent as it is: clients of the web would resolve its dots. */
const asIs = (path: string) => BytesCell.use(({ url }) =>
  Effect.callback<{ readonly text: string; readonly headers: IncomingHttpHeaders }>((resume) => {
    const { hostname, port } = new URL(url)
    request({ hostname, port, path, agent: false, headers: { authorization: "Bearer owner" } }, (answer) => {
      const parts: Array<Buffer> = []
      answer.on("data", (part: Buffer) => parts.push(part)).on("end", () => resume(Effect.succeed({ text: Buffer.concat(parts).toString(), headers: answer.headers })))
    }).end()
  }))

const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}` as Digest
const sessionsOf = (log: BytesCell["Service"]["log"]) =>
  log.after("GATEWAY", 0, "mill.session.*", 1000).commits.flatMap((commit) => readable(commit).facts.map(({ event }) => event))

layer(BytesCell.layer, { timeout: "60 seconds", excludeTestServices: true })("bytes over the API", (it) => {
  describe("blobs", () => {
    it.effect("what a workspace has put it reads back, whole or from an offset, and says it once", () => Effect.gen(function*() {
      const { log } = yield* BytesCell
      const bytes = randomBytes(3 * 2 ** 20)
      const put = yield* ask("PUT", "/v1/blobs", { body: bytes })
      assert.deepStrictEqual([put.status, put.json()], [200, { digest: digestOf(bytes), sizeBytes: bytes.length }])
      assert.strictEqual((yield* ask("PUT", `/v1/blobs?digest=${digestOf(bytes)}`, { body: bytes })).status, 200)
      assert.lengthOf(log.after("GATEWAY", 0, `mill.blob.acme.${digestOf(bytes).slice(7)}`, 10).commits, 1)
      const whole = yield* ask("GET", `/v1/blobs/${digestOf(bytes)}`)
      assert.isTrue(whole.bytes.equals(bytes))
      assert.strictEqual(whole.headers.get("content-length"), String(bytes.length))
      const rest = yield* ask("GET", `/v1/blobs/${digestOf(bytes)}?offset=1000000`)
      assert.isTrue(rest.bytes.equals(bytes.subarray(1_000_000)))
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digestOf(bytes)}?offset=${bytes.length + 1}`)).json().code, "offset_beyond_end")
      const had = yield* ask("GET", `/v1/blobs/${digestOf(bytes)}`, { headers: { "if-none-match": `"${digestOf(bytes)}"` } })
      assert.deepStrictEqual([had.status, had.bytes.length], [304, 0])
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digestOf(bytes)}`, { headers: { "if-none-match": "\"sha256:other\"" } })).status, 200)
    }))

    it.effect("a digest alone opens nothing: bytes of another workspace are not found until one has put them oneself", () => Effect.gen(function*() {
      const bytes = Buffer.from("a secret of acme")
      yield* ask("PUT", "/v1/blobs", { body: bytes })
      const stranger = yield* ask("GET", `/v1/blobs/${digestOf(bytes)}`, { token: "stranger" })
      assert.deepStrictEqual([stranger.status, stranger.json().code], [404, "blob_unknown"])
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digestOf(bytes)}`, { token: "stranger", headers: { "if-none-match": `"${digestOf(bytes)}"` } })).status, 404, "who has the bytes learns nothing of who else has")
      yield* ask("PUT", "/v1/blobs", { body: bytes, token: "stranger" })
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digestOf(bytes)}`, { token: "stranger" })).bytes.toString(), "a secret of acme")
    }))

    it.effect("a job takes only files that its workspace holds: naming a digest reads nobody else's bytes", () => Effect.gen(function*() {
      const bytes = Buffer.from("input of acme")
      yield* ask("PUT", "/v1/blobs", { body: bytes })
      const body = Buffer.from(JSON.stringify({ argv: ["cat", "/in"], files: [{ path: "/in", blob: { digest: digestOf(bytes), sizeBytes: bytes.length } }] }))
      const headers = { "content-type": "application/json" }
      assert.strictEqual((yield* ask("POST", "/v1/jobs", { body, headers })).status, 200)
      const stranger = yield* ask("POST", "/v1/jobs", { body, headers, token: "stranger" })
      assert.deepStrictEqual([stranger.status, stranger.json().code], [400, "blob_unknown"])
    }))

    it.effect("bytes under another digest's name are refused, and nothing of them is held", () => Effect.gen(function*() {
      const { blobs } = yield* BytesCell
      const [named, sent] = [digestOf(Buffer.from("named")), Buffer.from("sent")]
      const answer = yield* ask("PUT", `/v1/blobs?digest=${named}`, { body: sent })
      assert.deepStrictEqual([answer.status, answer.json().code], [409, "digest_mismatch"])
      assert.isFalse(yield* Effect.orDie(blobs.has(digestOf(sent))))
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digestOf(sent)}`)).status, 404)
    }))

    it.effect("a put that is broken off stores nothing", () => Effect.gen(function*() {
      const { blobs, url } = yield* BytesCell
      const half = Buffer.from("half of what was announced")
      yield* Effect.callback<void>((resume) => {
        const asked = request(`${url}/v1/blobs`, { method: "PUT", headers: { authorization: "Bearer owner", "content-length": "1000" } })
        asked.on("error", () => resume(Effect.void))
        asked.write(half, () => asked.destroy())
        asked.on("close", () => resume(Effect.void))
      })
      assert.isFalse(yield* Effect.orDie(blobs.has(digestOf(half))))
    }))

    it.effect("what is no digest, and a hostile one, is not found", () => Effect.gen(function*() {
      for (const name of ["x", "sha256:zz", "..%2f..%2fetc%2fpasswd", `sha256:${"A".repeat(64)}`, "%00", "a".repeat(5000)]) {
        assert.strictEqual((yield* ask("GET", `/v1/blobs/${name}`)).status, 404, name.slice(0, 40))
      }
    }))
  })

  describe("output and artefacts", () => {
    it.effect("what was kept is read as bytes, with headers that no browser acts upon", () => Effect.gen(function*() {
      const { settle, work } = yield* BytesCell
      const { end, made: { jobId }, say } = yield* work()
      say("<script>alert(1)</script>")
      yield* end
      yield* settle(jobId, "succeeded", 1)
      const answer = yield* ask("GET", `/v1/jobs/${jobId}/output/stdout`)
      assert.strictEqual(answer.bytes.toString(), "<script>alert(1)</script>")
      assert.deepStrictEqual(
        ["content-type", "x-content-type-options", "content-disposition"].map((name) => answer.headers.get(name)),
        ["application/octet-stream", "nosniff", `attachment; filename="${jobId}-stdout"; filename*=UTF-8''${jobId}-stdout`]
      )
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/output/stdout?offset=8`)).bytes.toString(), "alert(1)</script>")
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/output/stderr`)).json().code, "output_unknown")
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/output/stdout`, { token: "stranger" })).json().code, "job_unknown")
    }))

    it.effect("artefacts are listed and read by names that nobody checked", () => Effect.gen(function*() {
      const { blobs, say, work } = yield* BytesCell
      const { made } = yield* work()
      const names = ["a/b c.txt", "..", "../../etc/passwd", "x\r\nSet-Cookie: a=b", "\"; filename=evil", "日本語", "%2e%2e", "a?b#c", "-".repeat(300)]
      const { attempt, attemptId, fence, jobId, workspace } = made
      for (const [index, name] of names.entries()) {
        const blob = yield* Effect.orDie(blobs.putBytes(Buffer.from(`bytes ${index}`)))
        yield* say({ kind: "attempt", scope: hostId }, { _tag: "ArtefactKept", jobId, workspace, hostId, attempt, attemptId, fence, name, blob, droppedBytes: index })
      }
      const { artefacts } = (yield* ask("GET", `/v1/jobs/${jobId}/artefacts`)).json()
      assert.sameMembers(artefacts.map(({ name }: { name: string }) => name), names)
      for (const [index, name] of names.entries()) {
        const answer = yield* asIs(`/v1/jobs/${jobId}/artefacts/${encodeURIComponent(name)}`)
        assert.strictEqual(answer.text, `bytes ${index}`, name)
        assert.isUndefined(answer.headers["set-cookie"])
        assert.match(answer.headers["content-disposition"]!, /^attachment; filename="[A-Za-z0-9._ -]+"; filename\*=UTF-8''[A-Za-z0-9%._~!$&+^`|-]*$/u)
        assert.strictEqual(answer.headers["millrace-dropped-bytes"], String(index))
      }
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/artefacts?limit=2`)).json().artefacts.length, 2)
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/artefacts/none`)).json().code, "output_unknown")
      const [digest] = artefacts.map(({ digest }: { digest: Digest }) => digest)
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digest}`)).status, 200)
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${digest}`, { token: "stranger" })).status, 404)
    }))
  })

  describe("a host that lies", () => {
    it.effect("changes nothing of what was made elsewhere, and hands nobody the bytes of others", () => Effect.gen(function*() {
      const { blobs, say, settle, work } = yield* BytesCell
      const { end, made: { attemptId, fence, jobId, workspace }, say: tell } = yield* work()
      tell("what it said")
      yield* end
      yield* settle(jobId, "succeeded", 1)
      const liar = HostId.make(`hst_${"1".repeat(26)}`)
      const forged = yield* Effect.orDie(blobs.putBytes(Buffer.from("what it never said")))
      const which = { jobId, workspace, attemptId, fence }
      const kept = { _tag: "ArtefactKept", name: "stdout", blob: forged, droppedBytes: 0 } as const
      // In its own name, in another host's, and of a try that nobody placed.
      yield* say({ kind: "attempt", scope: liar }, { ...which, ...kept, hostId: liar, attempt: 1 })
      yield* say({ kind: "attempt", scope: liar }, { ...which, ...kept, hostId, attempt: 2, attemptId: namedId<AttemptId>("att", "none") })
      yield* say({ kind: "attempt", scope: liar }, { ...which, ...kept, hostId: liar, attempt: 3, attemptId: namedId<AttemptId>("att", "none") })
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/output/stdout`)).bytes.toString(), "what it said")
      // The bytes of acme as if a job of the stranger had made them.
      const secret = yield* Effect.orDie(blobs.putBytes(Buffer.from("what acme made")))
      const stranger = { ...which, ...kept, blob: secret, workspace: WorkspaceName.make("other"), name: "file" }
      yield* say({ kind: "attempt", scope: liar }, { ...stranger, hostId: liar, attempt: 4 }, { ...stranger, hostId, attempt: 1 })
      yield* ask("GET", `/v1/jobs/${jobId}/artefacts`)
      assert.strictEqual((yield* ask("GET", `/v1/blobs/${secret.digest}`, { token: "stranger" })).status, 404)
    }))

    it.effect("makes no job of another workspace its friends'", () => Effect.gen(function*() {
      const { log, say } = yield* BytesCell
      const liar = HostId.make(`hst_${"2".repeat(26)}`)
      const jobId = namedId<JobId>("job", acme, "coming")
      const moment = { bootId: "b", hostMs: 1, attempt: 1, attemptId: namedId<AttemptId>("att", "soon"), fence: { epoch: 1, sequence: 1 } }
      yield* say({ kind: "attempt", scope: liar }, { _tag: "AttemptStarted", jobId, workspace: WorkspaceName.make("other"), hostId: liar, ...moment })
      const headers = { "content-type": "application/json", "idempotency-key": "coming" }
      const heard = yield* ask("GET", `/v1/jobs/${jobId}?after=HOSTS=${log.head("HOSTS")}`, { token: "stranger" })
      assert.strictEqual(heard.status, 200, "of a job that nobody has submitted")
      const { cut, jobId: submitted } = (yield* ask("POST", "/v1/jobs", { body: Buffer.from(JSON.stringify({ argv: ["true"] })), headers })).json()
      assert.strictEqual(submitted, jobId)
      const shown = (token: string) => Effect.map(ask("GET", `/v1/jobs/${jobId}?after=GATEWAY=${cut.GATEWAY}`, { token }), ({ status }) => status)
      assert.deepStrictEqual([yield* shown("owner"), yield* shown("stranger")], [200, 404])
    }))
  })

  describe("live output", () => {
    it.effect("is told as it comes, then goes on with what is kept, and says how it ended", () => Effect.gen(function*() {
      const { log, settle, url, work } = yield* BytesCell
      const { end, made: { attemptId, jobId }, say } = yield* work()
      const follower = yield* followLog(url, jobId)
      say("one\n")
      yield* follower.says("one\n")
      say("two € 😀\n")
      yield* follower.says("one\ntwo € 😀\n")
      say("three")
      yield* end
      yield* settle(jobId, "succeeded", 1)
      yield* follower.over
      assert.strictEqual(follower.told().toString(), "one\ntwo € 😀\nthree")
      assert.deepStrictEqual(follower.events.at(-1), { id: "1:22", name: "end", data: { outcome: "succeeded", exitCode: 0, attempt: 1, droppedBytes: 0 } })
      const [opened, closed] = sessionsOf(log).filter((fact) => "jobId" in fact && fact.jobId === jobId)
      assert.deepInclude(opened as object, { _tag: "SessionOpened", form: "output", attemptId, openedBy: "user:owner", workspace: acme })
      assert.strictEqual(closed?._tag === "SessionClosed" && opened?._tag === "SessionOpened" && closed.sessionId === opened.sessionId, true)
    }))

    it.effect("survives a lost line between host and relay: nothing twice, nothing missing", () => Effect.gen(function*() {
      const { cutUplink, end, made, say, settle, url } = yield* Effect.gen(function*() {
        const cell = yield* BytesCell
        return { ...cell, ...(yield* cell.work()) }
      })
      const follower = yield* followLog(url, made.jobId)
      let text = ""
      for (let round = 0; round < 5; round++) {
        const line = `line ${round} ${"x".repeat(5000)}\n`
        text += line
        yield* cutUplink
        say(line)
        yield* follower.says(text)
      }
      yield* end
      yield* settle(made.jobId, "succeeded", 1)
      yield* follower.over
      assert.strictEqual(follower.told().toString(), text)
    }))

    it.effect("survives a gateway that is started anew: whoever comes back with the last id goes on there", () => Effect.gen(function*() {
      const cell = yield* BytesCell
      const { end, made: { jobId }, say } = yield* cell.work()
      const first = yield* followLog(cell.url, jobId)
      say("before ")
      yield* first.says("before ")
      yield* cell.stopGateway
      yield* first.over
      say("meanwhile ")
      yield* cell.startGateway
      const second = yield* followLog(cell.url, jobId, { from: first.lastId()! })
      yield* second.says("meanwhile ")
      yield* second.stop
      say("after")
      yield* end
      yield* cell.settle(jobId, "succeeded", 1)
      const third = yield* followLog(cell.url, jobId, { from: second.lastId()! })
      yield* third.over
      assert.strictEqual(Buffer.concat([first.told(), second.told(), third.told()]).toString(), "before meanwhile after")
    }))

    it.effect("goes on with the next attempt, from its beginning", () => Effect.gen(function*() {
      const cell = yield* BytesCell
      const first = yield* cell.work()
      const { jobId } = first.made
      const follower = yield* followLog(cell.url, jobId)
      first.say("first")
      yield* follower.says("first")
      yield* first.end
      const second = yield* cell.work({ of: jobId, attempt: 2 })
      second.say("second")
      yield* follower.says("firstsecond")
      yield* second.end
      yield* cell.settle(jobId, "succeeded", 2)
      yield* follower.over
      assert.deepStrictEqual(follower.events.filter(({ name }) => name !== "output").map(({ data, id, name }) => [name, id, data.attempt]),
        [["attempt", "1:0", 1], ["attempt", "2:0", 2], ["end", "2:6", 2]])
    }))

    it.effect("16 MiB come whole, and a reader that is slow holds up nobody else", () => Effect.gen(function*() {
      const cell = yield* BytesCell
      const { end, made: { jobId }, say } = yield* cell.work()
      const slow = yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof request>>((resume) => {
          const asked = request(`${cell.url}/v1/jobs/${jobId}/logs?follow=true`, { headers: { authorization: "Bearer owner" } }, (answer) => {
            answer.pause()
            resume(Effect.succeed(asked))
          })
          asked.on("error", () => undefined)
          asked.end()
        }),
        (asked) => Effect.sync(() => asked.destroy())
      )
      const follower = yield* followLog(cell.url, jobId)
      const hash = createHash("sha256")
      for (let piece = 0; piece < 16; piece++) {
        const bytes = randomBytes(2 ** 20)
        hash.update(bytes)
        say(bytes)
      }
      yield* follower.until(() => follower.toldBytes() > 15 * 2 ** 20)
      yield* end
      yield* cell.settle(jobId, "succeeded", 1)
      yield* follower.over
      assert.strictEqual(createHash("sha256").update(follower.told()).digest("hex"), hash.digest("hex"))
      assert.isFalse(slow.destroyed)
    }), 60_000)

    it.effect("without follow it is what there is now", () => Effect.gen(function*() {
      const cell = yield* BytesCell
      const { made: { jobId }, say } = yield* cell.work()
      say("so far")
      const now = yield* followLog(cell.url, jobId, { query: "" })
      yield* now.over
      assert.strictEqual(now.told().toString(), "so far")
      const later = yield* followLog(cell.url, jobId, { query: "offset=3" })
      yield* later.over
      assert.strictEqual(later.told().toString(), "far")
    }))

    it.effect("is nobody else's, and a place that is none is refused", () => Effect.gen(function*() {
      const cell = yield* BytesCell
      const { made: { jobId } } = yield* cell.work()
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/logs`, { token: "stranger" })).json().code, "job_unknown")
      assert.strictEqual((yield* ask("GET", `/v1/jobs/${jobId}/logs`, { headers: { "last-event-id": "1:x" } })).json().code, "place_malformed")
      assert.strictEqual((yield* ask("GET", `/v1/jobs/job_${"0".repeat(26)}/logs` as `/v1/jobs/${JobId}/logs`)).json().code, "job_unknown")
    }))
  })
})
