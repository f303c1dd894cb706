import type { Reading } from "@millrace/readmodel"
import { sql } from "kysely"
import { QuotaLedger, QuotaTree } from "../domain/fair/tree.ts"
import { described, takenBy } from "../domain/quotas.ts"
import type { CellTables } from "../projections/cell.ts"
import { quotas } from "../projections/quotas.ts"
import type { QuotaView } from "./api.ts"
import { heldAt } from "./reading.ts"

/** What everybody holds against what they are due, by the tables. */
export const ledgerAt = async (reading: Reading<CellTables>, past: boolean): Promise<QuotaLedger> => (await read(reading, past)).ledger

/** Who is due how much, with what each holds by the tables: the same arithmetic that decides, over what was placed and is not over. */
export const quotasAt = async (reading: Reading<CellTables>, past: boolean): Promise<ReadonlyArray<QuotaView>> => {
  const { ledger, rows } = await read(reading, past)
  return rows.map(({ changed_at_ms, node, set_by, terms: { limits, parent, priorityDefault, priorityMax, weight = 1 } }) => ({
    node, parent: parent ?? null, weight, priorityDefault: priorityDefault ?? null, priorityMax: priorityMax ?? null,
    limits: limits.map((limit) => ({
      ...limit, held: ledger.held(node).get(limit.dimension) ?? 0, borrowed: ledger.borrowed(node, limit.dimension), available: ledger.available(node, limit.dimension)
    })),
    setBy: set_by, changedAtMs: Number(changed_at_ms)
  }))
}

const read = async ({ cut, db, valid }: Reading<CellTables>, past: boolean) => {
  const rows = await db.selectFrom("quotas").selectAll().where(valid(quotas)).orderBy("node").execute()
  const held = await db.selectFrom("placements").select([
    "workspace", "gpu_model", sql<string>`sum(cpu_milli)`.as("cpu_milli"), sql<string>`sum(memory_mib)`.as("memory_mib"), sql<string>`sum(gpus)`.as("gpus"),
    sql<string>`sum(case when gpus = 0 then coalesce(device_milli, 0) else 0 end)`.as("gpu_milli")
  ]).where(heldAt(cut, past)).groupBy(["workspace", "gpu_model"]).execute()
  const tree = new QuotaTree(rows.map(({ node, terms }) => described(node, terms)))
  const ledger = new QuotaLedger(tree, held.map((row) => [
    `workspace/${row.workspace}`,
    takenBy(tree, {
      resources: { cpuMilli: Number(row.cpu_milli), memoryMib: Number(row.memory_mib), diskMib: 0, gpus: Number(row.gpus), gpuMilli: Number(row.gpu_milli) },
      gpuModel: row.gpu_model ?? undefined
    })
  ]))
  return { rows, ledger }
}
