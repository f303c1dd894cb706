import { type Commit, type NewFact } from "@millrace/journal"
import type { Digest, LeaseId } from "@millrace/schemas"
import { Context, Redacted } from "effect"
import { createHmac, hash } from "node:crypto"
import { deadManOf } from "./dead-man.ts"

/** The secret that one-time keys are made from. It never leaves the broker, and no fact holds a key. */
export class BrokerSecret extends Context.Service<BrokerSecret, Redacted.Redacted>()("millrace/broker/BrokerSecret") {}

/**
 * The key with which the host of one lease enrols, once. It follows from the secret and the lease, so a broker
 * that died between saying the intent and making the call makes the same key again.
 */
export const oneTimeKeyOf = (secret: Redacted.Redacted, leaseId: LeaseId): Redacted.Redacted =>
  Redacted.make(createHmac("sha256", Redacted.value(secret)).update(`millrace one-time key ${leaseId}`).digest("base64url"))

/** The form in which facts and access know such a key. */
export const digestOfKey = (key: Redacted.Redacted): Digest => `sha256:${hash("sha256", Redacted.value(key), "hex")}` as Digest

/** Puts the digest of the key into the intents of a commit. */
export const withKeyDigests = (secret: Redacted.Redacted) => (commit: Commit): Commit => ({
  ...commit,
  facts: commit.facts.map((fact): NewFact =>
    fact.event._tag === "LeaseRequested"
      ? { ...fact, event: { ...fact.event, oneTimeKeyDigest: digestOfKey(oneTimeKeyOf(secret, fact.event.leaseId)) } }
      : fact) as unknown as Commit["facts"]
})

/**
 * What a new machine is told, as cloud-init's user data (JSON is YAML): the settings of its agent and the
 * one-time key, in files that only the machine's administrator may read, and the agent to start. `deadManMs`: the machine
 * turns itself off when its agent has not heard from its cell for so long.
 */
export const userDataOf = (agentSettings: string, key: Redacted.Redacted, deadManMs?: number): string => {
  const file = (path: string, content: string, permissions = "0600") => ({ path, permissions, owner: "root:root", content })
  const deadMan = deadManMs === undefined ? undefined : deadManOf(deadManMs)
  const config = {
    write_files: [
      file("/etc/millrace/one-time-key", `${Redacted.value(key)}\n`),
      file("/etc/millrace/host.env", `${[agentSettings.trimEnd(), deadMan?.agentSettings].filter(Boolean).join("\n")}\n`),
      ...(deadMan?.files.map(({ content, path, permissions }) => file(path, content, permissions)) ?? [])
    ],
    // The dead man first: whatever becomes of the agent.
    runcmd: [...(deadMan === undefined ? [] : [deadMan.unit]), "millrace-host"].map((unit) => ["systemctl", "enable", "--now", unit])
  }
  return `#cloud-config\n${JSON.stringify(config, null, 2)}\n`
}
