import { decodeMessage, encodeCommit } from "@millrace/journal"
import { subjectText } from "@millrace/schemas"
import { rounded } from "../figures.ts"
import { placementsOn } from "../placement.ts"
import { ready } from "./bare.ts"
import { host } from "./facts.ts"

/** What it costs to write and to read one commit, with no server: the client's own share of an append. */
export const measureCodec = (rounds: number) => {
  const commit = placementsOn(host("A"), 0)
  const write = () => encodeCommit(commit, { last: "stream", sequence: 1 }, 1)
  const { body, headers } = write()
  const block = new Map(headers)
  const stored = { stream: "SCHEDULER", sequence: 2, subject: subjectText(commit.subject), storedAtMs: 0, header: (name: string) => block.get(name) ?? "", body }
  const us = (work: () => unknown): number => {
    for (let round = 0; round < rounds; round += 1) work()
    const fromMs = performance.now()
    for (let round = 0; round < rounds; round += 1) work()
    return rounded(((performance.now() - fromMs) / rounds) * 1000)
  }
  return { bytes: body.length + ready({ body, headers }).headers.length, encodeUs: us(write), decodeUs: us(() => decodeMessage(stored)) }
}
