import { Digest, WorkspaceName } from "@millrace/schemas"
import { Redacted, Result, Schema } from "effect"
import { createHmac, timingSafeEqual } from "node:crypto"

/** A secret that signs links, at least 32 bytes, and the short public name it is known by. */
export interface LinkKey {
  readonly id: string
  readonly secret: Redacted.Redacted<Uint8Array>
}

/**
 * To change keys: make the new one `current` and the old one `previous` everywhere, wait until the last
 * link of the old one has expired (at most `linkMsMax`), and drop `previous`.
 */
export interface LinkKeys {
  readonly current: LinkKey
  readonly previous?: LinkKey
}

/** No link lives longer than this, in ms; whoever needs longer asks again. */
export const linkMsMax = 60 * 60 * 1000

/** What a link allows: one method on one blob of one workspace, until a moment. */
export interface Allowed {
  readonly method: "GET" | "PUT"
  readonly digest: Digest
  readonly workspace: WorkspaceName
  readonly expiresAtMs: number
  /** The most bytes that a PUT may bring. */
  readonly sizeBytesMax?: number
}

/** Why a link is refused. Stable: clients and operators branch on these. */
export const LinkRefusal = Schema.Literals([
  "link_malformed",
  "link_key_unknown",
  "link_altered",
  "link_expired",
  "link_too_long_lived",
  "link_wrong_method"
])
export type LinkRefusal = typeof LinkRefusal.Type

/** A link that opens nothing, and why. */
export class LinkRefused extends Schema.TaggedError<LinkRefused>()("LinkRefused", { reason: LinkRefusal }) {
  override get message() {
    return `The link opens nothing here (${this.reason}). Ask the gateway for a new one.`
  }
}

/** Everything a link allows goes under the seal, one line each, under a first line that no other use of the key has. */
const sealed = (allowed: Allowed, key: LinkKey): Buffer =>
  createHmac("sha256", Redacted.value(key.secret))
    .update([
      "millrace-blob-link/1",
      allowed.method,
      allowed.digest,
      allowed.workspace,
      allowed.expiresAtMs,
      allowed.sizeBytesMax ?? "any"
    ].join("\n"))
    .digest()

/**
 * The path and query of a link, `/blobs/sha256:...?...`, sealed with HMAC-SHA-256 (RFC 2104) under the
 * current key. Who holds it may do what it allows, so it belongs in no log and no fact.
 */
export const linkTo = (allowed: Allowed, { current }: LinkKeys): string => {
  const query = new URLSearchParams({
    method: allowed.method,
    workspace: allowed.workspace,
    expires: String(allowed.expiresAtMs),
    ...(allowed.sizeBytesMax !== undefined && { max: String(allowed.sizeBytesMax) }),
    key: current.id,
    seal: sealed(allowed, current).toString("base64url")
  })
  return `/blobs/${allowed.digest}?${query}`
}

const whole = /^(0|[1-9][0-9]{0,15})$/u
const parameters = ["method", "workspace", "expires", "max", "key", "seal"]

const read = (link: string): { readonly allowed: Allowed; readonly key: string; readonly seal: Buffer } | null => {
  const [, name = "", query = ""] = /^\/blobs\/([^/?#]+)\?([^#]*)$/u.exec(link) ?? []
  const given = new URLSearchParams(query)
  // Two of one name, or one too many, and readers might differ in what they see.
  if ([...given.keys()].some((key, at, all) => !parameters.includes(key) || all.indexOf(key) !== at)) return null
  const text = (key: string) => given.get(key) ?? ""
  const [method, workspace] = [text("method"), text("workspace")]
  if (!Schema.is(Digest)(name) || !Schema.is(WorkspaceName)(workspace)) return null
  if (method !== "GET" && method !== "PUT") return null
  if (!whole.test(text("expires")) || (given.has("max") && !whole.test(text("max")))) return null
  const allowed = { method, digest: name, workspace, expiresAtMs: Number(text("expires")) } as const
  return {
    allowed: given.has("max") ? { ...allowed, sizeBytesMax: Number(text("max")) } : allowed,
    key: text("key"),
    seal: Buffer.from(text("seal"), "base64url")
  }
}

const same = (one: Buffer, other: Buffer) => one.byteLength === other.byteLength && timingSafeEqual(one, other)

/**
 * What a link allows now, for this method (a GET link also serves HEAD), or why it allows nothing. The
 * seal is looked at before anything it covers, and compared in constant time, so a forger learns nothing
 * by trying.
 */
export const openLink = (
  { link, method, nowMs }: { readonly link: string; readonly method: string; readonly nowMs: number },
  { current, previous }: LinkKeys
): Result.Result<Allowed, LinkRefused> => {
  const refused = (reason: LinkRefusal) => Result.fail(new LinkRefused({ reason }))
  const given = read(link)
  if (given === null) return refused("link_malformed")
  const key = [current, previous].find((key) => key?.id === given.key)
  if (key === undefined) return refused("link_key_unknown")
  if (!same(given.seal, sealed(given.allowed, key))) return refused("link_altered")
  if (given.allowed.expiresAtMs <= nowMs) return refused("link_expired")
  if (given.allowed.expiresAtMs > nowMs + linkMsMax) return refused("link_too_long_lived")
  if (given.allowed.method !== (method === "HEAD" ? "GET" : method)) return refused("link_wrong_method")
  return Result.succeed(given.allowed)
}
