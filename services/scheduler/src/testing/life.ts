import type { StoredCommit } from "@millrace/journal"
import type { HostJoined, MillFact, PlacementMade } from "@millrace/schemas"
import { Schema } from "effect"
import { admitted, cancelled, Cell, dismissed, enrolled, exited, host, job as jobId, joined, leaseEnded, left, needs, reclaimed, refused, released, silent, submitted } from "./cell.ts"
import { agent, budget, cost, delegated, grant, issued, lent, opened, priced, recalled, resumed, revoked, suspended } from "./means.ts"

const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 7 })))

/** One thing that may happen to a cell. Numbers choose among what there is. */
export const Step = Schema.Struct({
  what: Schema.Literals([
    "submits", "submits", "submits", "cancels", "cancels", "cancels", "joins", "joins", "leaves", "dismisses",
    "ends", "ends", "ends", "fails", "refuses", "restarts", "repeats", "forges", "decides", "decides", "decides",
    "submits_many", "submits_after", "submits_under", "submits_under", "falls_silent", "falls_silent", "funds", "lends", "charges", "charges", "charges",
    "recalls", "authority_moves", "authority_moves", "submits_under", "submits_many", "rents", "gives_back", "suspects"
  ]),
  which: few,
  much: few
})
export type Step = typeof Step.Type

export const Life = Schema.Array(Step).pipe(Schema.check(Schema.isMinLength(10), Schema.isMaxLength(110)))

const hostNames = ["a", "b", "c"]
const workspaces = ["acme", "other"]

/** The hosts differ in size, and the last has two GPUs. */
const joins = (name: string): MillFact => {
  const at = hostNames.indexOf(name)
  const plain = joined(name, { ...needs(2000 + at * 1000, 1000), gpus: at === 2 ? 2 : 0 }) as HostJoined
  return at < 2 ? plain : { ...plain, dialect: 3, capabilities: { ...plain.capabilities, gpus: [0, 1].map((index) => ({ index, model: "NVIDIA T4", memoryMib: 15_360 })) } }
}

/**
 * A history as it may really be: what the scheduler says is its own decision, what hosts say is about what
 * was placed, true or forged, once or twice. Time passes with each decision. Each round is handed to `seen`.
 */
export const live = (steps: ReadonlyArray<Step>, seen: (cell: Cell, atMs: number) => void = () => undefined, cell = new Cell()): Cell => {
  const jobs: Array<{ readonly name: string; readonly where: string }> = []
  const oneOf = <T>(things: ReadonlyArray<T>, which: number): T | undefined => things[which % Math.max(1, things.length)]
  const ended = new Set<string>()
  const running = (): ReadonlyArray<PlacementMade> => cell.said("PlacementMade").filter(({ attemptId }) => !ended.has(attemptId))
  const end = (made: PlacementMade | undefined, word: (made: PlacementMade) => MillFact): void => {
    if (made === undefined) return
    ended.add(made.attemptId)
    cell.hear(word(made))
  }
  let atMs = 0
  const submits = (terms: Parameters<typeof submitted>[1], which: number, much: number): void => {
    const job = { name: `j${jobs.length}`, where: terms?.grant === undefined ? oneOf(workspaces, which)! : "acme" }
    jobs.push(job)
    cell.hear(submitted(job.name, {
      in: job.where, resources: { ...needs((1 + (much % 4)) * 700, 100 + which * 50), ...(which === 7 ? { gpus: 1 } : which === 4 ? { gpuMilli: 300 + much * 50 } : {}) }, attemptsMax: 1 + (much % 3),
      ...(which === 5 ? { queueMsMax: 300 } : {}), ...(which === 6 ? { runMsMax: 1_000 } : {}), ...terms
    }))
  }
  const charged = new Set<string>()
  let slices = 0
  for (const { much, what, which } of steps) {
    switch (what) {
      case "submits":
        submits({}, which, much)
        break
      case "submits_many":
        submits({ array: { tasks: 1 + which, ...(much % 2 === 0 ? { parallelismMax: 1 + (much % 3) } : {}), ...(much % 3 === 0 ? { failuresMax: much % 2 } : {}) } }, which, much)
        break
      case "submits_after": {
        const other = oneOf(jobs, which)
        if (other !== undefined) submits({ after: [{ jobId: jobId(other.name), on: much % 2 === 0 ? "succeeded" : "over" }] }, which, much)
        break
      }
      case "submits_under":
        submits({ by: agent, grant: grant(which % 2 === 0 ? "g" : "h"), ...(much === 3 ? { array: { tasks: 3 } } : {}) }, which, much)
        break
      case "authority_moves":
        if (cell.saw["ACCESS"] === undefined || cell.said("GrantIssued").length === 0) {
          cell.hear(...opened, issued("g", { concurrencyMax: 2, spendPicoMax: 200_000n }, 20_000), delegated("h", "g", { concurrencyMax: 1, spendPicoMax: 100_000n, usesMax: 4 }))
        } else if (much < 3) cell.hear(suspended(which % 2 === 0 ? "g" : "h"))
        else if (much < 6) cell.hear(resumed("g"), resumed("h"))
        else if (much === 7) cell.hear(revoked(which % 2 === 0 ? "g" : "h"))
        break
      case "funds":
        if (cell.said("BudgetOpened").length === 0) cell.hear(priced, budget, lent("0", 300_000n))
        break
      case "lends":
        slices += 1
        if (cell.said("BudgetOpened").length > 0 && slices < 6) cell.hear(lent(String(slices), BigInt(much) * 40_000n))
        break
      case "recalls":
        if (slices > 0 && much === 0) cell.hear(recalled("0"))
        break
      case "charges": {
        const made = oneOf(cell.said("PlacementMade").filter(({ attemptId, share }) => share !== undefined && ended.has(attemptId) && !charged.has(attemptId)), which)
        if (made === undefined) break
        charged.add(made.attemptId)
        cell.hear(cost(made, (made.share!.amountPico * BigInt(much)) / 7n))
        break
      }
      case "falls_silent": {
        const name = oneOf(hostNames, which)!
        atMs += 20_000
        cell.rest(atMs, [silent(name, atMs - 17_000)])
        if (much < 6) cell.hear(joins(name))
        break
      }
      case "cancels": {
        const runs = oneOf(running(), which)
        const job = much % 2 === 0 ? oneOf(jobs, which + much) : jobs.find(({ name }) => runs?.jobId === jobId(name))
        if (job !== undefined) cell.hear(cancelled(job.name, job.where))
        break
      }
      case "joins": {
        const name = oneOf(hostNames, which)!
        cell.hear(admitted(name), joins(name))
        break
      }
      case "leaves":
        if (much < 3) cell.hear(left(oneOf(hostNames, which)!))
        break
      case "rents": {
        const name = oneOf(hostNames, which)!
        // The broker tells nobody that a machine enrols whose lease has ended.
        if (!cell.said("LeaseEnded").some(({ leaseId }) => leaseId === leaseEnded(name).leaseId)) cell.hear(enrolled(name))
        break
      }
      case "gives_back":
        if (much < 5) cell.hear((much < 2 ? released : much < 4 ? reclaimed : leaseEnded)(oneOf(hostNames, which)!))
        break
      case "dismisses":
        if (much === 0) cell.hear(dismissed(oneOf(hostNames, which)!))
        break
      case "ends":
        end(oneOf(running(), which), (made) => exited(made, { code: 0 }))
        break
      case "fails":
        end(oneOf(running(), which), (made) => exited(made, { code: 1 }))
        break
      case "suspects":
        cell.hear(much < 5 ? { _tag: "GpuSuspected", hostId: host("c"), gpu: which % 2, symptom: "slow" } : { _tag: "GpuCleared", hostId: host("c"), gpu: which % 2, test: "again" })
        break
      case "refuses":
        end(oneOf(running(), which), (made) => refused(made))
        break
      case "restarts":
        end(oneOf(running(), which), (made) => exited(made, { cause: "agent_restarted" }))
        break
      case "repeats":
        end(oneOf(cell.said("PlacementMade").filter(({ attemptId }) => ended.has(attemptId)), which), (made) => exited(made, { code: much }))
        break
      case "forges": {
        const made = oneOf(cell.said("PlacementMade"), which)
        const other = oneOf(hostNames.map(host).filter((id) => id !== made?.hostId), much)
        if (made !== undefined && other !== undefined) cell.hear({ ...exited(made), hostId: other })
        break
      }
      case "decides":
        atMs += much * 100
        seen(cell, atMs)
        cell.decide(atMs)
        break
    }
  }
  seen(cell, atMs)
  cell.decide(atMs)
  return cell
}

/** Another order of the same facts: `picks` says from which stream the next one comes. */
export const interleaved = (log: ReadonlyArray<StoredCommit>, picks: ReadonlyArray<number>): ReadonlyArray<StoredCommit> => {
  const streams = [...new Map(log.map(({ place }) => [place.stream, log.filter((commit) => commit.place.stream === place.stream)])).values()].map((commits) => [...commits])
  const mixed: Array<StoredCommit> = []
  for (let index = 0; mixed.length < log.length; index += 1) {
    const left = streams.filter(({ length }) => length > 0)
    // A run of several from one stream, so that streams fall far behind each other.
    const pick = picks[index % picks.length] ?? 0
    mixed.push(...left[pick % left.length]!.splice(0, 1 + (pick >> 3)))
  }
  return mixed
}

/** Which stream speaks next, and for how long. */
export const Picks = Schema.Array(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 127 })))).pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(40)))
