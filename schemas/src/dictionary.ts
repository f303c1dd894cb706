/**
 * The shapes of records that the log's msgpack bodies name by number instead of by keys. Frozen and
 * append-only: an entry that has been written is never changed, moved or removed, because a reader with
 * other entries would decode wrong keys without an error. A commit's `Mill-Dict` header says how many
 * entries it needs; a reader with fewer refuses it.
 *
 * The first 32 take one byte each, later ones two, so they belong to what every job says. A shape that is
 * not here is written with its keys beside it and reads as well.
 *
 * Past 32 entries msgpackr 2.1.3 reads back what it wrote only when it is handed the entries through
 * `getStructures`, not through `structures`: the latter leaves out each entry's second byte. It also
 * remembers the keys of every unknown shape it has written (about 0.5 KB a shape), so whoever writes
 * shapes with keys that others choose renews its packer now and then.
 */
export const dictionary: ReadonlyArray<ReadonlyArray<string>> = [
  // JobSubmitted, JobCancelRequested
  ["jobId", "workspace", "submittedBy", "grant", "spec", "requestDigest", "decision"],
  ["jobId", "workspace", "submittedBy", "spec", "requestDigest", "decision"],
  ["runtime", "trust", "resources", "program", "attemptsMax", "runMsMax", "onSilence"],
  ["runtime", "trust", "resources", "attemptsMax", "runMsMax", "onSilence"],
  ["cpuMilli", "memoryMib", "diskMib", "gpus"],
  ["key", "nonce", "sealed"],
  ["keepMs"],
  ["rule", "view"],
  ["ACCESS"],
  ["jobId", "workspace", "requestedBy", "decision"],
  // PlacementMade, PlacementWithdrawn
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "spec", "warrant", "signature", "reason"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "spec", "warrant", "signature", "share", "reason"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "spec", "warrant", "signature", "snapshot", "share", "reason"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "spec", "warrant", "signature", "snapshot", "reason"],
  ["epoch", "sequence"],
  ["warrantId", "hostId", "jobId", "attempt", "fence", "resources", "grantPath", "expiresAtMs", "view"],
  ["account", "slice", "amountPico"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "cause"],
  // AttemptStarted and AttemptReady, PhaseEntered, AttemptExited, ArtefactKept
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "bootId", "hostMs"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "bootId", "hostMs", "phase"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "bootId", "hostMs", "code", "cause"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "bootId", "hostMs", "signal", "cause"],
  ["jobId", "workspace", "hostId", "attempt", "attemptId", "fence", "name", "blob", "droppedBytes"],
  ["digest", "sizeBytes"],
  // JobSettled, JobDeferred, JobRetried
  ["jobId", "workspace", "outcome", "attempt", "attemptId", "hostId", "exitCode", "endedBy", "cause"],
  ["jobId", "workspace", "outcome", "attempt", "attemptId", "hostId", "endedBy", "cause"],
  ["jobId", "workspace", "outcome", "attempt", "cause"],
  ["jobId", "workspace", "reason", "arithmetic", "unblockedBy"],
  ["jobId", "workspace", "failedAttempt", "cause", "notBeforeMs"],
  // SliceLeased, SpendCommitted, SliceReturned
  ["workspace", "account", "slice", "holder", "amountPico", "availablePico"],
  ["workspace", "account", "slice", "jobId", "attempt", "attemptId", "amountPico", "settledBy"],
  ["workspace", "account", "slice", "amountPico", "cause"]
]
