import { assert, describe, it } from "@effect/vitest"
import { WorkspaceName } from "@millrace/schemas"
import { Redacted, Result } from "effect"
import { type Allowed, type LinkKey, type LinkKeys, linkMsMax, linkTo, openLink } from "./link.ts"
import { nameOf } from "./verified.ts"

const key = (id: string, fill: number): LinkKey => ({ id, secret: Redacted.make(new Uint8Array(32).fill(fill)) })
const [spring, summer, autumn] = [key("spring", 1), key("summer", 2), key("autumn", 3)]
const digest = nameOf(new Uint8Array([1, 2, 3])).digest
const other = nameOf(new Uint8Array([4])).digest
const nowMs = 1_800_000_000_000

const get: Allowed = { method: "GET", digest, workspace: WorkspaceName.make("acme"), expiresAtMs: nowMs + 60_000 }
const put: Allowed = { ...get, method: "PUT", sizeBytesMax: 1_000 }

const opened = (link: string, method = "GET", keys: LinkKeys = { current: spring }, atMs = nowMs) =>
  Result.match(openLink({ link, method, nowMs: atMs }, keys), {
    onSuccess: (allowed) => allowed,
    onFailure: ({ reason }) => reason
  })

describe("a signed link", () => {
  it("allows what it was made for, and a link to get also serves HEAD", () => {
    assert.deepStrictEqual(opened(linkTo(get, { current: spring })), get)
    assert.deepStrictEqual(opened(linkTo(get, { current: spring }), "HEAD"), get)
    assert.deepStrictEqual(opened(linkTo(put, { current: spring }), "PUT"), put)
  })

  it("is refused from the moment it expires", () => {
    const link = linkTo(get, { current: spring })
    assert.deepStrictEqual(opened(link, "GET", { current: spring }, get.expiresAtMs - 1), get)
    assert.strictEqual(opened(link, "GET", { current: spring }, get.expiresAtMs), "link_expired")
  })

  it("is refused if it would live longer than any link may", () => {
    const link = linkTo({ ...get, expiresAtMs: nowMs + linkMsMax + 1 }, { current: spring })
    assert.strictEqual(opened(link), "link_too_long_lived")
  })

  it("is refused for another method", () => {
    assert.strictEqual(opened(linkTo(get, { current: spring }), "PUT"), "link_wrong_method")
    assert.strictEqual(opened(linkTo(put, { current: spring }), "GET"), "link_wrong_method")
    assert.strictEqual(opened(linkTo(put, { current: spring }), "HEAD"), "link_wrong_method")
  })

  it("is refused when anything it says was altered", () => {
    const link = linkTo(put, { current: spring })
    const alterations: ReadonlyArray<readonly [string | RegExp, string]> = [
      [digest, other],
      ["method=PUT", "method=GET"],
      ["workspace=acme", "workspace=evil"],
      [`expires=${put.expiresAtMs}`, `expires=${put.expiresAtMs + 1}`],
      ["max=1000", "max=100000"],
      ["max=1000&", ""],
      [/seal=./u, "seal=-"],
      [/seal=.*/u, "seal="],
      [/.$/u, ""]
    ]
    for (const [from, to] of alterations) {
      const altered = link.replace(from, to)
      assert.notStrictEqual(altered, link)
      assert.strictEqual(opened(altered, "PUT"), "link_altered", `${from}`)
    }
  })

  it("is refused when another key of the same name made it, or a key that nobody knows", () => {
    assert.strictEqual(opened(linkTo(get, { current: key("spring", 9) })), "link_altered")
    assert.strictEqual(opened(linkTo(get, { current: autumn })), "link_key_unknown")
  })

  it("outlives one change of keys, and not a second", () => {
    const link = linkTo(get, { current: spring })
    assert.deepStrictEqual(opened(link, "GET", { current: summer, previous: spring }), get)
    assert.strictEqual(opened(link, "GET", { current: autumn, previous: summer }), "link_key_unknown")
  })

  it("is refused as malformed when readers might differ in what it says", () => {
    const link = linkTo(get, { current: spring })
    const malformed = [
      "", "/", "/blobs/", `/blobs/${digest}`, `${link}&method=PUT`, `${link}&max=5&max=6`, `${link}&extra=1`, `${link}#x`,
      link.replace("/blobs/", "/blobs//"),
      link.replace("/blobs/", "/blobs/../blobs/"),
      link.replace("sha256:", "sha256%3A"),
      link.replace("workspace=acme", "workspace=a%0Acme"),
      link.replace(/expires=[0-9]+/u, "expires=1e15"),
      link.replace(/expires=[0-9]+/u, "expires=-1"),
      link.replace("method=GET", "method=DELETE")
    ]
    for (const bad of malformed) assert.strictEqual(opened(bad), "link_malformed", bad)
  })
})
