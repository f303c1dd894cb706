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
  for (const { event } of factsIn(history, "HOSTS", "AttemptExited", "AttemptRefused")) {
    if (event._tag === "AttemptRefused") sometimes.saw("a host refused an attempt")
    else {
      sometimes.saw(`an attempt ended: ${event.cause}`)
      if (withdrawn.has(event.attemptId) && event.cause !== "withdrawn") sometimes.saw("an attempt ended by itself while its withdrawal was on its way")
    }
  }
}

/** What must happen at least once in some hundreds of seeds: every fault, and every state worth meeting. */
export const mustHappen: ReadonlyArray<string> = [
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
  "crashed at end orphan",
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
  "an attempt ended by itself while its withdrawal was on its way"
]
