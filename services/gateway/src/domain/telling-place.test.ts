import { assert, describe, it } from "@effect/vitest"
import { placeFrom, placeText } from "./telling-place.ts"

describe("places as they travel", () => {
  it("come back as they went", () => {
    const place = { from: { GATEWAY: 1 }, to: { GATEWAY: 2, HOSTS: 7 }, told: 3 }
    assert.deepStrictEqual(placeFrom(placeText(place)), place)
  })

  it("are nothing else", () => {
    for (const text of ["", "~~", "GATEWAY=1", "GATEWAY=1~GATEWAY=2", "GATEWAY=1~GATEWAY=2~x", "~~1~", "~~1234567"]) assert.isUndefined(placeFrom(text), text)
  })
})
