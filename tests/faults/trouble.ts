import type { Cell } from "./cell.ts"
import type { Heard } from "./watched-log.ts"

const linesMax = 6
const jobsMax = 3

const line = ({ event, sequence, storedAtMs, stream }: Heard): string =>
  `  ${new Date(storedAtMs).toISOString().slice(11, 23)} ${stream} ${sequence} ${JSON.stringify(event, (_, value: unknown) => typeof value === "bigint" ? String(value) : value).slice(0, 260)}`

/** What a person would look at first when a run does not come to its end: jobs that are not over, hosts, and each process's last words. */
export const trouble = ({ agents, log, services }: Cell): string => {
  const over = new Set(log.facts("JobSettled").map(({ jobId }) => jobId))
  const open = log.facts("JobSubmitted").filter(({ jobId }) => !over.has(jobId))
  return [
    `${new Date().toISOString()}: ${open.length} jobs are not over`,
    ...open.slice(0, jobsMax).flatMap(({ jobId }) => [jobId, ...log.history.filter(({ event }) => "jobId" in event && event.jobId === jobId).map(line)]),
    "hosts",
    ...log.history.filter(({ event }) => /^Host(?!Admitted)/u.test(event._tag)).slice(-20).map(line),
    ...[...Object.values(services).filter(({ service }) => service !== "host"), ...agents].flatMap(({ life, lives, name }) => [`${name}, life ${lives.length}, ended ${JSON.stringify(life().ended())}`, ...life().said.slice(-linesMax).map((said) => `  ${said.slice(0, 500)}`)])
  ].join("\n")
}
