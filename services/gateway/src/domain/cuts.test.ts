import { assert, describe, it } from "@effect/vitest"
import { cutFrom, cutText, placeFrom, placeText } from "./cuts.ts"

describe("cuts and places as they travel", () => {
  it("come back as they went", () => {
    for (const cut of [{}, { GATEWAY: 12 }, { SCHEDULER: 40, GATEWAY: 12 }]) assert.deepStrictEqual(cutFrom(cutText(cut)), cut)
    const place = { from: { GATEWAY: 1 }, to: { GATEWAY: 2, HOSTS: 7 }, told: 3 }
    assert.deepStrictEqual(placeFrom(placeText(place)), place)
  })

  it("are nothing else", () => {
    for (const text of ["GATEWAY", "GATEWAY=", "gateway=1", "GATEWAY=1,", "GATEWAY=-1", "GATEWAY=1;"]) assert.isUndefined(cutFrom(text), text)
    for (const text of ["", "~~", "GATEWAY=1", "GATEWAY=1~GATEWAY=2", "GATEWAY=1~GATEWAY=2~x", "~~1~", "~~1234567"]) assert.isUndefined(placeFrom(text), text)
  })
})
