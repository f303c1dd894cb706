import type { MillFact, PlacementMade } from "@millrace/schemas"
import { Schema } from "effect"
import { admitted, cancelled, Cell, dismissed, exited, host, job as jobId, joined, left, needs, refused, submitted } from "./cell.ts"

const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 7 })))

/** One thing that may happen to a cell. Numbers choose among what there is. */
export const Step = Schema.Struct({
  what: Schema.Literals([
    "submits", "submits", "submits", "cancels", "cancels", "cancels", "joins", "joins", "leaves", "dismisses",
    "ends", "ends", "ends", "fails", "refuses", "restarts", "repeats", "forges", "decides", "decides", "decides"
  ]),
  which: few,
  much: few
})
export type Step = typeof Step.Type

export const Life = Schema.Array(Step).pipe(Schema.check(Schema.isMinLength(10), Schema.isMaxLength(90)))

const hostNames = ["a", "b", "c"]
const workspaces = ["acme", "other"]

/**
 * A history as it may really be: what the scheduler says is its own decision, what hosts say is about what
 * was placed, true or forged, once or twice. Time passes with each decision. Each round is handed to `seen`.
 */
export const live = (steps: ReadonlyArray<Step>, seen: (cell: Cell, atMs: number) => void = () => undefined): Cell => {
  const cell = new Cell()
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
  for (const { much, what, which } of steps) {
    switch (what) {
      case "submits": {
        const job = { name: `j${jobs.length}`, where: oneOf(workspaces, which)! }
        jobs.push(job)
        cell.hear(submitted(job.name, { in: job.where, resources: needs((1 + (much % 4)) * 700, 100 + which * 50), attemptsMax: 1 + (much % 3) }))
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
        cell.hear(admitted(name), joined(name, needs(2000 + hostNames.indexOf(name) * 1000, 1000)))
        break
      }
      case "leaves":
        if (much < 3) cell.hear(left(oneOf(hostNames, which)!))
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
