import { factsIn, type History, type Sometimes } from "@millrace/sim"
import { faultNames } from "@millrace/sim"

/** Counts the interesting states that a history went through. */
export const countStates = (history: History, sometimes: Sometimes): void => {
  const takeOvers = factsIn(history, "SCHEDULER", "SchedulerTookOver").length
  if (takeOvers > 1) sometimes.saw("a scheduler took over from another", takeOvers - 1)
  const withdrawn = new Set<string>()
  for (const { event: { attemptId } } of factsIn(history, "SCHEDULER", "PlacementWithdrawn")) withdrawn.add(attemptId)
  const deferred = new Set<string>()
  for (const { event } of factsIn(history, "SCHEDULER", "JobDeferred", "PlacementMade", "JobRetried", "JobSettled", "LateWordNoted", "HostDeclaredLost", "HostReturned")) {
    switch (event._tag) {
      case "JobDeferred":
        deferred.add(event.jobId)
        break
      case "PlacementMade":
        if (deferred.delete(event.jobId)) sometimes.saw("a job waited for room and was placed")
        break
      case "JobRetried":
        sometimes.saw("a job was tried again")
        if (event.lost === true) sometimes.saw("work was tried elsewhere after its host was lost")
        break
      case "JobSettled":
        sometimes.saw(`a job ${event.outcome}`)
        if (event.outcome === "cancelled") sometimes.saw(event.attempt === 0 ? "a job was cancelled before it was placed" : "a job was cancelled after it was placed")
        break
      case "HostDeclaredLost":
        sometimes.saw("a host was declared lost")
        break
      case "HostReturned":
        sometimes.saw("a lost host returned")
        break
      case "LateWordNoted":
        sometimes.saw("a late word was noted")
        break
    }
  }
  countMeans(history, sometimes)
  countShares(history, sometimes)
  for (const { event } of factsIn(history, "HOSTS", "AttemptExited", "AttemptRefused")) {
    if (event._tag === "AttemptRefused") sometimes.saw("a host refused an attempt")
    else {
      sometimes.saw(`an attempt ended: ${event.cause}`)
      if (withdrawn.has(event.attemptId) && event.cause !== "withdrawn") sometimes.saw("an attempt ended by itself while its withdrawal was on its way")
    }
  }
}

/** The same for arrays, order among jobs, grants and money. */
const countMeans = (history: History, sometimes: Sometimes): void => {
  const takeOvers = factsIn(history, "METERING", "MeteringTookOver").length
  if (takeOvers > 1) sometimes.saw("metering took over again", takeOvers - 1)
  for (const { event } of factsIn(history, "METERING", "SliceRecalled", "SliceReturned", "SpendCommitted")) {
    if (event._tag === "SpendCommitted") sometimes.saw(event.amountPico === 0n ? "an attempt was charged nothing" : "an attempt was charged")
    else sometimes.saw(event._tag === "SliceRecalled" ? "a slice was called back" : "a slice was given back")
  }
  for (const { event } of factsIn(history, "SCHEDULER", "JobDeferred", "JobRefused", "JobSettled", "TaskSettled", "PlacementMade", "PlacementWithdrawn")) {
    switch (event._tag) {
      case "JobDeferred":
        sometimes.saw(`a job waited: ${event.reason}`)
        break
      case "JobRefused":
        sometimes.saw(`a job was refused: ${event.reason}`)
        break
      case "TaskSettled":
        sometimes.saw(`a task ${event.outcome}`)
        break
      case "PlacementMade":
        if (event.spec.after !== undefined) sometimes.saw("a job came after another")
        if (event.warrant.grantPath.length > 1) sometimes.saw("work ran under a grant below another")
        break
      case "PlacementWithdrawn":
        if (event.cause === "revoked") sometimes.saw("work was withdrawn because its grant was revoked")
        break
      case "JobSettled":
        if (event.cause.startsWith("no place was found")) sometimes.saw("a job's patience for a place ended")
        if (event.tasks !== undefined && event.outcome === "cancelled" && event.tasks.skipped > 0 && event.tasks.succeeded + event.tasks.cancelled > 0) sometimes.saw("an array was cancelled half-way")
        if (event.tasks !== undefined && event.tasks.failed > 0) sometimes.saw("a task of an array failed for good")
    }
  }
}

/** The same for gangs, for what is shared out and for who gives way. */
const countShares = (history: History, sometimes: Sometimes): void => {
  for (const { event } of factsIn(history, "SCHEDULER", "PlacementMade", "PlacementWithdrawn", "JobRetried", "TaskSettled", "QuotaSet", "PriorityChanged", "JobDeferred")) {
    switch (event._tag) {
      case "PlacementMade":
        if (event.gang?.rank === 0) sometimes.saw(`a gang was placed: ${event.spec.gang?.topology}`)
        if (event.gang !== undefined && event.attempt > 1 && event.gang.rank === 0) sometimes.saw("a gang began again")
        if (event.spec.gang !== undefined && (event.gpus ?? []).length > 0) sometimes.saw("a gang had GPUs")
        break
      case "PlacementWithdrawn":
        if (event.by === undefined) break
        sometimes.saw(event.by.workspace === event.workspace ? "work gave way in its own workspace" : "work gave way to another workspace")
        if (event.cause === "preempted" && event.task !== undefined) sometimes.saw("a task gave way")
        break
      case "JobRetried":
        if (event.preempted === true) sometimes.saw("what gave way began again")
        if (event.gang === true) sometimes.saw("a member began again for its gang's sake")
        break
      case "TaskSettled":
        break
      case "JobDeferred":
        if (event.heldOn !== undefined) sometimes.saw("a host was held for a job")
        break
      default:
        sometimes.saw(event._tag)
    }
  }
}

/** What some hundreds of seeds may miss, and a thousand do not. */
const mustHappenInThousands: ReadonlyArray<string> = ["crashed at end orphan"]

/** What must happen at least once in so many seeds, some hundreds at least, of one kind of cell: every fault, and every state worth meeting. */
export const mustHappenIn = ({ contested, seeds }: { readonly contested: boolean; readonly seeds: number }): ReadonlyArray<string> =>
  contested ? mustHappenWhereContested : seeds < 1_000 ? mustHappen : [...mustHappen, ...mustHappenInThousands]

const mustHappenWhereContested: ReadonlyArray<string> = [
  ...faultNames,
  "a scheduler took over from another",
  "a gang was placed: host",
  "a gang was placed: fabric",
  "a gang was placed: zone",
  "a gang was placed: provider",
  "a gang was placed: anywhere",
  "a gang had GPUs",
  "a gang began again",
  "a member began again for its gang's sake",
  "work gave way in its own workspace",
  "work gave way to another workspace",
  "what gave way began again",
  "a host was held for a job",
  "QuotaSet",
  "PriorityChanged",
  "GpuSuspected",
  "GpuCleared",
  "a machine was rented",
  "a machine was given back",
  "a machine was taken back",
  "a machine was taken back without a word",
  "a job waited: quota",
  "a job waited: no_room",
  "a host was declared lost",
  "a lost host returned",
  "a job succeeded",
  "a job failed",
  "a job was cancelled after it was placed",
  "a job was cancelled before it was placed"
]

const mustHappen: ReadonlyArray<string> = [
  ...faultNames,
  "reader_replaced",
  "redelivered",
  "unknown_outcome_was_stored",
  "unknown_outcome_was_not_stored",
  "doubled_append_refused",
  "append_overtaken",
  "append_outlived_its_writer",
  "log_unavailable",
  "client_asked_again",
  "submission_repeated",
  "gateway_restarted",
  "host_restarted",
  "scheduler_restarted",
  "took over from one that stood still",
  "PlacementMade heard again",
  "PlacementWithdrawn heard again",
  "crashed at round scheduler decided",
  "crashed at round scheduler sent",
  "crashed at checkpoint scheduler before",
  "crashed at checkpoint scheduler after",
  "crashed at append SchedulerTookOver before",
  "crashed at append SchedulerTookOver after",
  "crashed at append JobSubmitted before",
  "crashed at append JobSubmitted after",
  "crashed at append AttemptExited before",
  "crashed at append AttemptExited after",
  "crashed at ack host-* PlacementMade unhandled",
  "crashed at ack host-* PlacementMade handled",
  "crashed at remember begun after",
  "crashed at start work before",
  "crashed at start work after",
  "crashed at remember running before",
  "crashed at remember told before",
  "a scheduler took over from another",
  "a job waited for room and was placed",
  "a job was tried again",
  "a job succeeded",
  "a job failed",
  "a job lost",
  "a job was cancelled before it was placed",
  "a job was cancelled after it was placed",
  "a host refused an attempt",
  "an attempt ended: exited",
  "an attempt ended: withdrawn",
  "an attempt ended: timed_out",
  "an attempt ended: agent_restarted",
  "an attempt ended: lease_ended",
  "a host was declared lost",
  "a lost host returned",
  "work was tried elsewhere after its host was lost",
  "crashed at adopt work",
  "an attempt ended by itself while its withdrawal was on its way",
  "metering_restarted",
  "metering took over again",
  "crashed at round metering decided",
  "crashed at round metering sent",
  "crashed at append SpendCommitted before",
  "crashed at append SpendCommitted after",
  "crashed at checkpoint metering before",
  "an attempt was charged",
  "an attempt was charged nothing",
  "a slice was called back",
  "a slice was given back",
  "a job waited: budget",
  "a job waited: quota",
  "a job waited: after",
  "a job was refused: not_allowed",
  "a job was refused: over_budget",
  "a job was refused: dependency_failed",
  "a job came after another",
  "a job's patience for a place ended",
  "a task succeeded",
  "a task failed",
  "a task cancelled",
  "an array was cancelled half-way",
  "work ran under a grant below another",
  "work was withdrawn because its grant was revoked"
]
