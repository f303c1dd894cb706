import { spawn } from "node:child_process"
import { once } from "node:events"
import { setTimeout } from "node:timers/promises"
import { assert, describe, it } from "vitest"
import { processorMsOf } from "./processor-time.ts"

const until = async (holds: () => boolean): Promise<void> => {
  for (let look = 0; look < 200; look += 1) {
    if (holds()) return
    await setTimeout(100)
  }
  assert.fail("it did not come to hold within 20 s")
}

describe("processor time", () => {
  it("is that of a process, of its children that run, and of those it has waited for", async () => {
    const busy = (times: number) => `i=0; while [ $i -lt ${times} ]; do i=$((i+1)); done`
    const quiet = spawn("/bin/sh", ["-c", "read line"], { detached: true, stdio: ["pipe", "ignore", "ignore"] })
    const work = spawn("/bin/sh", ["-c", `(${busy(400_000)}); (${busy(100_000_000)}) & read line`], { detached: true, stdio: ["pipe", "ignore", "ignore"] })
    try {
      const before = processorMsOf(quiet.pid!).ms
      await until(() => processorMsOf(work.pid!).ms > 300)
      assert.isBelow(processorMsOf(quiet.pid!).ms - before, 100)
      assert.strictEqual(processorMsOf(2 ** 30).ms, 0)
    } finally {
      for (const pid of [-work.pid!, -quiet.pid!]) process.kill(pid, "SIGKILL")
      await Promise.all([once(work, "exit"), once(quiet, "exit")])
    }
  })
})
