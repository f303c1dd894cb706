import { Schema } from "effect"

const REMEDY = {
  key_invalid: "send the public half of the host's own NKey, which begins with U",
  host_invalid: "use the host id that was given at enrolment",
  keys_unreadable: "run the provisioning step again (npm start does it), or name the file in MILLRACE_ADMISSION_KEYS",
  not_answered: "check that nats-server runs and is reachable (millrace doctor), then ask again",
  not_permitted: "this process holds credentials for another service: check MILLRACE_NATS_CREDS",
  not_configured: "run the provisioning step (npm start does it)"
} as const

/** A host could not be admitted or dismissed. Asking again is safe: both do nothing that is done already. */
export class AdmissionFailed extends Schema.TaggedError<AdmissionFailed>()("AdmissionFailed", {
  reason: Schema.Literals(["key_invalid", "host_invalid", "keys_unreadable", "not_answered", "not_permitted", "not_configured"]),
  doing: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `${this.doing} failed (${this.reason}): ${this.detail}. Remedy: ${REMEDY[this.reason]}`
  }
}
