import { projection } from "@millrace/readmodel"
import { applyToHosts, createHosts, hostFacts, hostHistories, type HostTables, type OfHosts } from "./hosts.ts"
import { applyToJobs, createJobs, jobFacts, type JobTables, type OfJobs, standings } from "./jobs.ts"
import { applyToQuotas, createQuotas, type OfQuotas, quotaFacts, quotas, type QuotaTables } from "./quotas.ts"

export interface CellTables extends HostTables, JobTables, QuotaTables {}

/**
 * Hosts and what waits for them, at any cut: answers "where could this run, and why does it not". One
 * projection, so that a host's room and the jobs that want it are read in one snapshot. No decision looks here.
 */
export const cell = projection<CellTables>()<OfHosts | OfJobs | OfQuotas>({
  name: "scheduler.cell",
  version: 4,
  hears: ["GATEWAY", "SCHEDULER", "HOSTS", "ACCESS", "BROKER"],
  only: [...hostFacts, ...jobFacts, ...quotaFacts],
  history: [...hostHistories, standings, quotas],
  tables: (schema) => [...createHosts(schema), ...createJobs(schema), ...createQuotas(schema)],
  apply: async (tx, facts) => {
    await applyToHosts(tx, facts)
    await applyToJobs(tx, facts)
    await applyToQuotas(tx, facts)
  }
})
