import { type ActionName, type Decision, linksOf, resourceOf } from "@millrace/authority"
import { headsOf, Journal } from "@millrace/journal"
import { type AsOf, Database, read, type Reading } from "@millrace/readmodel"
import { askOf, Authority, Caller } from "@millrace/service"
import { Effect, type Layer } from "effect"
import { HttpApiBuilder, HttpApiMiddleware } from "effect/http-api"
import { sql } from "kysely"
import { dialectOf } from "../domain/ask.ts"
import { foresee, grantLimits, type Limit, quotaLimit } from "../domain/foresee.ts"
import { narrowest, needsOf } from "../domain/permits.ts"
import { nodeOf } from "../domain/quotas.ts"
import { explain } from "../domain/why.ts"
import { cell, type CellTables } from "../projections/cell.ts"
import { terms } from "../projections/hosts.ts"
import { standings } from "../projections/jobs.ts"
import { Api, type HostView, Wellformed, type WhyView } from "./api.ts"
import { BadRequest, Forbidden, NotFound } from "./errors.ts"
import { jobAt, type JobKept } from "./job-known.ts"
import { heldAt, type HostKept, hostsAt, optionsOf, unreadable } from "./reading.ts"
import { ledgerAt, quotasAt } from "./quotas-seen.ts"
import type { Rounds } from "./rounds.ts"

/** Attempts of one host that an answer names. */
const attemptsMax = 100
/** Hosts of one page, unless told. */
const pageRows = 100

/** What the outside asks of hosts and of waiting, answered from tables of our own. */
export const LooksLive = (rounds?: Rounds) => HttpApiBuilder.group(Api, "looks", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const database = yield* Database
  const journal = yield* Journal

  /** The caller's workspace, if the caller may look there. */
  const allowed = Effect.fnUntraced(function*(action: ActionName, ...within: ReadonlyArray<string>) {
    const caller = yield* Caller
    const ask = askOf(caller, { action, resource: resourceOf(caller.workspace, ...within) })
    const { decision } = yield* authority.decide(ask)
    if (decision.verdict === "allow") return caller.workspace
    return yield* new Forbidden({
      code: "capability_missing",
      what: `${caller.principal} may not do ${action}: ${decision.rule}`,
      where: ask.resource,
      remedy: `ask for a grant of ${action} on ${ask.resource}`,
      ...(decision.missing === undefined ? {} : { missing: decision.missing })
    })
  })
  const looking = <A>(asked: AsOf, query: (reading: Reading<CellTables>, past: boolean) => Promise<A>) =>
    Effect.flatMap(optionsOf(asked), (options) => Effect.mapError(read(cell, (reading) => query(reading, options.at !== undefined), options), unreadable)).pipe(
      Effect.provideService(Database, database),
      Effect.provideService(Journal, journal)
    )

  return handlers.handleAll({
    hosts: Effect.fnUntraced(function*({ query }) {
      yield* allowed("host.read")
      const { cursor = "", limit = pageRows, state } = query
      const { cut, value } = yield* looking(query, hostsAt)
      const rows = value.filter((host) => host.hostId > cursor && (state === undefined || host.state === state))
      return { hosts: rows.slice(0, limit).map(hostView), next: rows.length > limit ? rows[limit - 1]!.hostId : null, cut }
    }),
    host: Effect.fnUntraced(function*({ params: { hostId }, query }) {
      const workspace = yield* allowed("host.read")
      const { cut, value } = yield* looking(query, async (reading, past) => {
        const [host] = await hostsAt(reading, past, hostId)
        if (host === undefined) return undefined
        const here = reading.db.selectFrom("placements").where("host_id", "=", hostId).where(heldAt(reading.cut, past))
        const attempts = await here.selectAll().where("workspace", "=", workspace).orderBy("placed_seq", "desc").orderBy("attempt_id").limit(attemptsMax).execute()
        const elsewhere = await here.select(sql<string>`count(*)`.as("count")).where("workspace", "<>", workspace).executeTakeFirstOrThrow()
        return { host, attempts, elsewhere: Number(elsewhere.count) }
      })
      if (value === undefined) return yield* noSuch("host", hostId, "list the hosts with: millrace hosts")
      return {
        host: hostView(value.host),
        attempts: value.attempts.map((row) => ({
          jobId: row.job_id, task: row.task, attempt: row.attempt, attemptId: row.attempt_id, cpuMilli: Number(row.cpu_milli), memoryMib: Number(row.memory_mib),
          diskMib: Number(row.disk_mib), gpus: Number(row.gpus), placedAtMs: Number(row.placed_at_ms), reason: row.reason ?? ""
        })),
        attemptsElsewhere: value.elsewhere,
        cut
      }
    }),
    why: Effect.fnUntraced(function*({ params: { jobId }, query }) {
      const workspace = yield* allowed("job.read", "job", /^job_[0-9A-Z]{26}$/u.test(jobId) ? jobId : "unknown")
      const look = (asked: AsOf) => looking(asked, (reading, past) => jobAt(reading, past, workspace, jobId))
      let { cut, value } = yield* look(query)
      if (value === undefined && query.at === undefined) {
        // It may have been submitted a moment ago: before it is denied, everything that is in the log is looked at.
        const heads = yield* Effect.mapError(headsOf(["GATEWAY"]).pipe(Effect.provideService(Journal, journal)), unreadable)
        const after = Object.entries({ ...cut, ...heads }).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")
        ;({ cut, value } = yield* look({ ...query, after }))
      }
      if (value === undefined) return yield* noSuch("job", jobId, "list your jobs with: millrace ls")
      return whyView(value, cut)
    }),
    plan: Effect.fnUntraced(function*({ query: { need: { gang, runMsMax = 0, tasks = 1, ...need }, ...query } }) {
      const workspace = yield* allowed("job.read")
      const caller = yield* Caller
      const members = gang?.members ?? 1
      const needs = needsOf({ ...need, runMsMax })
      const submitting = askOf(caller, { action: "job.submit", resource: resourceOf(workspace, "job", "unknown"), needs })
      const { decision } = yield* authority.decide(submitting)
      const links = caller.grant === undefined ? [] : linksOf(authority.view, caller.grant) ?? []
      const granted = decision.verdict === "deny" ? [deniedLimit(decision)] : grantLimits(narrowest(links), need.resources, members)
      const dialect = dialectOf({ ...need, attemptsMax: 1, runMsMax: 0, onSilence: { keepMs: 0 } })
      const { cut, value: { hosts, ledger } } = yield* looking(query, async (reading, past) => ({ hosts: await hostsAt(reading, past), ledger: await ledgerAt(reading, past) }))
      const limits = [...granted, ...quotaLimit(ledger, nodeOf(workspace), need.resources, members)]
      return { ...foresee({ ...need, dialect }, { tasks, gang }, hosts, limits), cut }
    }),
    quotas: Effect.fnUntraced(function*({ query }) {
      yield* allowed("capacity.read")
      const { cut, value } = yield* looking(query, quotasAt)
      return { quotas: value, cut }
    }),
    scheduler: Effect.fnUntraced(function*({ query }) {
      const workspace = yield* allowed("host.read")
      const { cut, value } = yield* looking(query, async (reading, past) => {
        const { cut, db, valid } = reading
        const term = await db.selectFrom("terms").selectAll().where(valid(terms)).orderBy("term", "desc").executeTakeFirst()
        const said = await db.selectFrom("standings").select(["said", sql<string>`count(*)`.as("count")]).where("workspace", "=", workspace).where(valid(standings)).groupBy("said").execute()
        const all = await db.selectFrom("jobs").select(sql<string>`count(*)`.as("count")).where("workspace", "=", workspace).where("submitted_seq", "<=", cut["GATEWAY"] ?? 0).executeTakeFirstOrThrow()
        return { term, said: new Map(said.map(({ count, said }) => [said, Number(count)])), all: Number(all.count), hosts: await hostsAt(reading, past) }
      })
      const { all, hosts, said, term } = value
      const spoken = [...said.values()].reduce((sum, count) => sum + count, 0)
      const count = (...states: ReadonlyArray<string>) => hosts.filter(({ state }) => states.includes(state)).length
      return {
        scheduler: term === undefined ? null : { term: term.term, codeVersion: term.code_version, sinceMs: Number(term.since_ms) },
        deciding: rounds?.seen ?? null,
        jobs: {
          submitted: Math.max(0, all - spoken), waiting: said.get("deferred") ?? 0, backingOff: said.get("retried") ?? 0, placed: said.get("placed") ?? 0,
          over: (said.get("settled") ?? 0) + (said.get("refused") ?? 0)
        },
        hosts: {
          admitted: count("admitted"), joined: count("joined"), draining: count("draining"), left: count("left"), lost: count("lost"), returned: count("returned"),
          dismissed: count("dismissed"), takenBack: count("taken_back")
        },
        cut
      }
    })
  })
}))

/** Names the field that does not fit, in the form that every error has. */
export const WellformedLive: Layer.Layer<Wellformed> = HttpApiMiddleware.layerSchemaErrorTransform(Wellformed, (error) =>
  Effect.fail(new BadRequest({
    code: "request_malformed",
    what: error.cause.message.replaceAll("\n", " "),
    where: `the request's ${error.kind.toLowerCase()}`,
    remedy: "compare it with /openapi.json"
  })))

const noSuch = (what: "host" | "job", id: string, remedy: string) =>
  new NotFound({ code: `${what}_unknown`, what: `there is no ${what} ${id.slice(0, 100)}`, where: what === "job" ? "this workspace" : "this cell", remedy })

/** What of some work its submitter's grant or role does not allow. */
const deniedLimit = ({ missing, rule }: Decision): Limit => ({
  kind: "grant", never: true,
  sentence: missing?.limit === undefined ? `it may not be submitted under this token: ${rule}` : `its grant allows ${missing.limit} ${missing.has ?? "nothing"}, and this needs ${missing.needs ?? "more"}`
})

const number = (value: number | string | null | undefined): number | null => (value === null || value === undefined ? null : Number(value))

const hostView = ({ admission, attempts, capabilities: _, free, held, hostId, judgement, rental, report, state, takesWork }: HostKept): HostView => {
  const changes = [admission, report, judgement, rental].flatMap((row) => (row === undefined ? [] : [Number(row.changed_at_ms)]))
  const decisive = state === "dismissed" || state === "admitted" ? admission
    : state === "lost" || state === "returned" ? judgement
    : state === "taken_back" ? rental : report
  const able = report?.capabilities ?? null
  return {
    hostId, state, takesWork, free,
    cause: (state === "dismissed" ? admission?.cause : state === "taken_back" ? rental?.released ?? "reclaimed" : state === "draining" || state === "left" ? report?.cause : null) ?? null,
    sinceMs: Number(decisive?.changed_at_ms ?? 0),
    changedAtMs: Math.max(0, ...changes),
    capabilities: able === null ? null : { resources: able.resources, gpus: able.gpus, runtimes: able.runtimes, trusts: able.trusts, labels: able.labels },
    held: { ...held, attempts },
    bootId: report?.boot_id ?? null,
    agentVersion: report?.agent_version ?? null,
    joinedAtMs: number(report?.joined_at_ms),
    ...(report?.suspects === undefined || report.suspects === null ? {} : { suspects: report.suspects }),
    lost: judgement === undefined ? null : { lastHeardAtMs: number(judgement.last_heard_at_ms), leaseEndedAtMs: number(judgement.lease_ended_at_ms) },
    rented: rental === undefined ? null : {
      leaseId: rental.lease_id, provider: rental.provider, region: rental.region, machineType: rental.machine_type, market: rental.market,
      pricePicoPerSecond: rental.price_pico_per_second, reclaimAtMs: number(rental.reclaim_at_ms), released: rental.released, ended: rental.ended
    }
  }
}

const whyView = ({ hosts, known, placed, row, standing }: JobKept, cut: WhyView["cut"]): WhyView => {
  const { changes, nearest, sentence, stage, waits } = explain(known, hosts)
  return {
    jobId: row.job_id, stage, sentence, nearest, changes, cut,
    needs: { ...row.resources, runtime: row.runtime!, trust: row.trust!, tasks: row.tasks ?? 1 },
    waits: standing === undefined || !(waits || standing.said === "retried") ? null : {
      reason: standing.said === "retried" ? "backing_off" : standing.reason!,
      arithmetic: standing.words ?? "",
      unblockedBy: standing.unblocked_by ?? "time",
      saidAtMs: Number(standing.said_at_ms),
      sinceMs: Number(standing.since_ms),
      dueAtMs: number(standing.due_at_ms)
    },
    placed: placed.map(({ attempt, attempt_id, host_id, over, placed_at_ms, reason, task }) => ({
      hostId: host_id, task, attempt, attemptId: attempt_id, reason: reason ?? "", placedAtMs: Number(placed_at_ms), over
    })),
    ended: stage !== "over" ? null : {
      outcome: standing!.outcome!, cause: standing!.words ?? "", exitCode: standing!.exit_code, hostId: standing!.host_id, atMs: Number(standing!.said_at_ms)
    },
    tasks: known.tasks ?? null
  }
}
