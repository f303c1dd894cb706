import { assert, describe, it } from "@effect/vitest"
import { HostId, kinds } from "@millrace/schemas"
import { createUser, fromPublic, fromSeed } from "@nats-io/nkeys"
import {
  claimsIn, crossings, hostPermissions, hostWrites, isPublicKey, mintHostUser, newSeed, type Role, services, servicePermissions, type ServiceName, signClaims, signingKey
} from "./index.ts"

const h1 = HostId.make(`hst_01K9${"1".padStart(22, "0")}`)
const h9 = HostId.make(`hst_01K9${"9".padStart(22, "0")}`)
const bytes = (text: string) => new TextEncoder().encode(text)
const terms = (publicKey: string) => ({ hostId: h1, publicKey, account: signingKey(newSeed("account")).publicKey, issuedAtS: 1_000, expiresAtS: 4_600 })

describe("keys", () => {
  it("are those of the NATS library: seed, public key, signature", () => {
    for (const role of ["operator", "account", "user"] satisfies Array<Role>) {
      const seed = newSeed(role)
      const [ours, theirs] = [signingKey(seed), fromSeed(bytes(seed))]
      assert.strictEqual(ours.publicKey, theirs.getPublicKey())
      assert.isTrue(theirs.verify(bytes("said"), ours.sign("said")))
      assert.isFalse(theirs.verify(bytes("unsaid"), ours.sign("said")))
      assert.isTrue(isPublicKey(role, ours.publicKey))
    }
  })

  it("of others are known by role and checksum", () => {
    const publicKey = createUser().getPublicKey()
    assert.isTrue(isPublicKey("user", publicKey))
    assert.isFalse(isPublicKey("account", publicKey))
    for (const wrong of ["", "U", "*", publicKey.slice(1), publicKey.toLowerCase(), `${publicKey.slice(0, 20)}${publicKey[20] === "A" ? "B" : "A"}${publicKey.slice(21)}`]) {
      assert.isFalse(isPublicKey("user", wrong), wrong)
    }
    assert.throws(() => signingKey(publicKey), /no NKey seed/)
  })
})

describe("a host's credentials", () => {
  const signer = newSeed("account")

  it("are signed so that the NATS library verifies them, and say who, until when and what", () => {
    const asked = terms(createUser().getPublicKey())
    const { inboxPrefix, jwt } = mintHostUser(asked, signingKey(signer))
    const [head = "", body = "", signature = ""] = jwt.split(".")
    assert.isTrue(fromPublic(signingKey(signer).publicKey).verify(bytes(`${head}.${body}`), Buffer.from(signature, "base64url")))
    assert.deepStrictEqual(JSON.parse(Buffer.from(head, "base64url").toString()), { typ: "JWT", alg: "ed25519-nkey" })
    const { exp, iat, name, nats, sub } = claimsIn(jwt)
    assert.deepStrictEqual({ exp, iat, name, sub }, { exp: 4_600, iat: 1_000, name: h1, sub: asked.publicKey })
    const { publish, subscribe } = hostPermissions(h1, inboxPrefix)
    assert.deepStrictEqual([nats["pub"], nats["sub"], nats["issuer_account"]], [{ allow: publish }, { allow: subscribe }, asked.account])
    assert.notProperty(nats, "bearer_token")
  })

  it("are the same for the same terms, and of another inbox for another key", () => {
    const [one, other] = [terms(createUser().getPublicKey()), terms(createUser().getPublicKey())]
    assert.deepStrictEqual(mintHostUser(one, signingKey(signer)), mintHostUser(one, signingKey(signer)))
    assert.notStrictEqual(mintHostUser(one, signingKey(signer)).inboxPrefix, mintHostUser(other, signingKey(signer)).inboxPrefix)
    assert.match(mintHostUser(one, signingKey(signer)).inboxPrefix, /^_INBOX_[A-Z2-7]{26}$/)
  })

  it("name the host in every subject, hold no wildcard before it, and cover each kind that hosts write", () => {
    const { publish } = hostPermissions(h1, "_INBOX_X")
    for (const subject of publish) {
      assert.include(subject, h1)
      assert.notInclude(subject.slice(0, subject.indexOf(h1)), "*")
      assert.notMatch(subject.slice(subject.indexOf(h1)), /\*|>(?!$)/)
    }
    assert.deepStrictEqual(publish.filter((subject) => subject.includes(h9)), [])
    assert.strictEqual(hostWrites(h1).length, kinds.filter(({ stream }) => stream === "HOSTS").length)
  })

  it("reach nothing that does not cross between the accounts", () => {
    const crosses = (subject: string) => crossings.some(({ hosts }) => new RegExp(`^${hosts.replaceAll(/[.$]/g, "\\$&").replaceAll("*", "[^.]+").replace(/>$/, ".+")}$`).test(subject))
    for (const subject of hostPermissions(h1, "_INBOX_X").publish) assert.isTrue(crosses(subject), subject)
    assert.isFalse(crosses("$JS.API.INFO"))
  })
})

describe("a service's permissions", () => {
  it("hold no word that creates, changes, purges or deletes a stream of facts", () => {
    for (const name of Object.keys(services) as Array<ServiceName>) {
      for (const subject of servicePermissions(name, "_INBOX_X").publish) {
        if (/STREAM\.(?!INFO|MSG\.GET)/.test(subject)) assert.strictEqual(subject, "$JS.API.STREAM.PURGE.OBJ_blobs")
        assert.notInclude([">", "*", "mill.>", "$JS.API.>"], subject)
      }
    }
  })
})

describe("signing", () => {
  it("names a JWT by what it says", () => {
    const key = signingKey(signingSeed)
    const claims = { name: "x", sub: "y", iat: 1, nats: {} }
    assert.strictEqual(signClaims(claims, key), signClaims(claims, key))
    assert.notStrictEqual(signClaims(claims, key), signClaims({ ...claims, iat: 2 }, key))
  })
})

const signingSeed = newSeed("account")
