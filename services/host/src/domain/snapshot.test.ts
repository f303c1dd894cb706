import { assert, it } from "@effect/vitest"
import type { AttemptId } from "@millrace/schemas"
import { snapshotAtEndOf } from "./snapshot.ts"

it("the snapshot of an attempt has the id that whoever plans it gives it", () =>
  assert.strictEqual(snapshotAtEndOf({ attemptId: `att_${"0".repeat(26)}` as AttemptId }), "snp_0000000000AQNBAZJPRNZHY1SA"))
