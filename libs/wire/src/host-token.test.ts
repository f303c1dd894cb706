import { assert, describe, it } from "@effect/vitest"
import { hostTokenOf, hostTokenText } from "./host-token.ts"

const token = { publicKey: `U${"A".repeat(55)}`, atMs: 1_700_000_000_000, signature: Buffer.alloc(64, 7) }

describe("a host's token", () => {
  it("is read as it was written", () => {
    const read = hostTokenOf(hostTokenText(token))
    assert.deepStrictEqual([read?.publicKey, read?.atMs, Buffer.from(read!.signature)], [token.publicKey, token.atMs, token.signature])
  })

  it("of another form is none", () => {
    const text = hostTokenText(token)
    for (const other of ["", text.slice(1), `${text}A`, text.replace("U", "A"), text.replace(".1", ".-1"), `${text}\n`, text.replaceAll(".", " ")]) assert.isUndefined(hostTokenOf(other), other)
  })
})
