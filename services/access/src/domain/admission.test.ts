import { given } from "@millrace/decider/testing"
import { assert, describe, it } from "@effect/vitest"
import type { Digest, Principal, WorkspaceName } from "@millrace/schemas"
import { Result } from "effect"
import { AdmissionDecider, type AdmissionFact, HostUnknown, hostIdOf, KeyRefused } from "./admission.ts"

const oneTimeKeyDigest = `sha256:${"a".repeat(64)}` as Digest
const publicKey = `U${"A".repeat(55)}`
const another = `U${"B".repeat(55)}`
const owner = "user:owner" as Principal
const opened: AdmissionFact = { _tag: "EnrolmentOpened", workspace: "main" as WorkspaceName, oneTimeKeyDigest, openedBy: owner, expiresAtMs: 1000 }
const admitted: AdmissionFact = { _tag: "HostAdmitted", hostId: hostIdOf(publicKey), publicKey, admittedBy: "service:access" as Principal, oneTimeKeyDigest }
const dismissed: AdmissionFact = { _tag: "HostDismissed", hostId: hostIdOf(publicKey), publicKey, dismissedBy: owner, cause: "gone" }
const enrol = (publicKey: string, atMs = 0) => ({ _tag: "Enrol", oneTimeKeyDigest, publicKey, atMs }) as const

describe("admission", () => {
  it("a one-time key admits the host that shows it", () =>
    assert.deepStrictEqual(given(AdmissionDecider, opened).when(enrol(publicKey)), Result.succeed([admitted])))
  it("the same host may ask again, and nothing is added", () =>
    assert.deepStrictEqual(given(AdmissionDecider, opened, admitted).when(enrol(publicKey)), Result.succeed([])))
  it("another host cannot use the key again", () =>
    assert.deepStrictEqual(given(AdmissionDecider, opened, admitted).when(enrol(another)), Result.fail(new KeyRefused({ reason: "used" }))))
  it("a key that nobody opened admits nobody", () =>
    assert.deepStrictEqual(given(AdmissionDecider).when(enrol(publicKey)), Result.fail(new KeyRefused({ reason: "unknown" }))))
  it("a key ends when it was said to", () =>
    assert.deepStrictEqual(given(AdmissionDecider, opened).when(enrol(publicKey, 1000)), Result.fail(new KeyRefused({ reason: "expired" }))))
  it("a dismissed host cannot come back with the key it used", () =>
    assert.deepStrictEqual(given(AdmissionDecider, opened, admitted, dismissed).when(enrol(publicKey)), Result.fail(new KeyRefused({ reason: "used" }))))
  it("dismissing twice dismisses once, and a stranger cannot be dismissed", () => {
    const dismiss = { _tag: "Dismiss", hostId: hostIdOf(publicKey), dismissedBy: owner, cause: "gone" } as const
    assert.deepStrictEqual(given(AdmissionDecider, opened, admitted).when(dismiss), Result.succeed([dismissed]))
    assert.deepStrictEqual(given(AdmissionDecider, opened, admitted, dismissed).when(dismiss), Result.succeed([]))
    assert.deepStrictEqual(given(AdmissionDecider, opened).when(dismiss), Result.fail(new HostUnknown()))
  })
})
