/**
 * Brings one simulated run back: `npm run sim -- --seed 7`. Shows its story, what it met, and the laws that it
 * broke; `--job` shows one job alone (the last letters of its id will do), `--bug` plants a bug, `--contested` is the
 * cell that is fought over.
 */
import type { StoredCommit } from "@millrace/journal"
import { parseArgs } from "node:util"
import { breaches } from "./laws.ts"
import { plantedBugs, type PlantedBugName } from "./planted.ts"
import { countStates } from "./states.ts"
import { type Run, simulate } from "./world.ts"

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    bug: { type: "string" },
    job: { type: "string", default: "" },
    minutes: { type: "string" },
    contested: { type: "boolean", default: false },
    hosts: { type: "string" },
    jobs: { type: "string" }
  }
})

const seed = Number(values.seed)
if (values.seed === undefined || !Number.isSafeInteger(seed) || (values.bug !== undefined && !(values.bug in plantedBugs))) {
  console.error(`Say which run: npm run sim -- --seed 7. A bug is one of ${Object.keys(plantedBugs).join(", ")}`)
  process.exit(2)
}

const run = simulate({
  seed,
  ...(values.contested ? { contested: true } : {}),
  ...(values.hosts === undefined ? {} : { hosts: Number(values.hosts) }),
  ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
  ...(values.jobs === undefined ? {} : { jobs: Number(values.jobs) }),
  ...(values.bug === undefined ? {} : { bug: values.bug as PlantedBugName })
})
for (const line of story(run, values.job)) console.log(line)
countStates(run.history, run.sometimes)
console.log(run.sometimes.toJSON())
const broken = breaches(run)
for (const { detail, law } of broken) console.log(`BROKEN ${law}: ${detail}`)
console.log(`seed ${seed}: ${(run.virtualMs / 1000).toFixed(1)} virtual seconds, ${broken.length === 0 ? "every law held" : `${broken.length} laws broken`}`)
process.exitCode = broken.length === 0 ? 0 : 1

function story({ history, startMs }: Run, job: string): ReadonlyArray<string> {
  const moments: Array<{ readonly atMs: number; readonly text: string }> = []
  for (const [stream, commits] of history.streams) {
    for (const commit of commits) {
      const text = wordsOf(commit)
      if (text !== "" && text.includes(job)) moments.push({ atMs: commit.place.storedAtMs, text: `${stream} ${commit.place.sequence} ${commit.subject.scope.slice(-4)} ${text}` })
    }
  }
  for (const { atMs, attempt, hostId, jobId, mark } of history.work) {
    if (jobId.includes(job)) moments.push({ atMs, text: `       the work of ${jobId.slice(-4)}#${attempt} ${mark} on ${hostId.slice(-4)}` })
  }
  moments.sort((left, right) => left.atMs - right.atMs)
  return moments.map(({ atMs, text }) => `${String(atMs - startMs).padStart(7)} ms  ${text}`)
}

function wordsOf({ decided, facts }: StoredCommit): string {
  const words = facts.map(({ event, name }) => {
    const about = event._tag === "Success" ? event.success as { readonly jobId?: string; readonly attempt?: number; readonly cause?: string } : {}
    return `${name}${about.jobId === undefined ? "" : `(${about.jobId.slice(-4)}${about.attempt === undefined ? "" : `#${about.attempt}`}${about.cause === undefined ? "" : `: ${about.cause}`})`}`
  }).join(" ")
  return decided === undefined ? words : `${words}  saw ${JSON.stringify(decided.saw)}`
}
