import { filterOf, headers, kinds, nameOf, type Kind, type StreamName, versions } from "@millrace/schemas"
import { stringify } from "yaml"
import type { Docstrings } from "./docstrings.ts"
import { firstSentence } from "./docstrings.ts"

/** Who writes each stream. */
export const writers: Readonly<Record<StreamName, string>> = {
  GATEWAY: "gateway",
  SCHEDULER: "scheduler",
  HOSTS: "host",
  BROKER: "broker",
  SNAPSHOTS: "snapshots",
  ACCESS: "access",
  METERING: "metering"
}

/** A kind's own name among those that share a word: `decision` of the gateway is `decision-gateway`. */
export const channelOf = (kind: Kind): string =>
  kind.only === undefined || kind.only === "cell" ? kind.kind : `${kind.kind}-${kind.only}`

/** A kind's subject with its variable parts in braces. */
export const addressOf = (kind: Kind): string => {
  const scope = kind.only ?? `{${kind.scope}}`
  return kind.story === undefined ? `mill.${kind.kind}.${scope}` : `mill.${kind.kind}.${scope}.{${kind.story}}`
}

const headerSchema = (): Record<string, unknown> => {
  const text = (pattern: string, description: string) => ({ type: "string", pattern, description })
  const ids = "([a-z]{3}_[0-9A-HJKMNP-TV-Z]{26})?"
  return {
    type: "object",
    required: [headers.id, headers.fact, headers.partOf, headers.actor, headers.at, headers.prev, headers.epoch, headers.dictionary],
    properties: {
      [headers.id]: text("^fct_[0-9A-HJKMNP-TV-Z]{26}(,fct_[0-9A-HJKMNP-TV-Z]{26})*$", "Fact ids, in the order of the bodies."),
      [headers.fact]: text("^[A-Z][A-Za-z]*/[0-9]+(,[A-Z][A-Za-z]*/[0-9]+)*$", "Name and version of each fact."),
      [headers.partOf]: text(`^${ids}(,${ids})*$`, "The first fact of the whole story, for each fact."),
      [headers.causedBy]: text(`^${ids}(,${ids})*$`, "The fact that each one answers; an entry may be empty."),
      [headers.grant]: text(`^${ids}(,${ids})*$`, "The grant each one was said under; an entry may be empty."),
      [headers.actor]: text("^(user|agent|service|host):[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", "Who says it."),
      [headers.at]: text("^[0-9]+$", "When it happened, in ms since 1970, by the writer's clock. Never an order."),
      [headers.prev]: text("^[0-9]+$", "The sequence that the writer expected before it."),
      [headers.epoch]: text("^[0-9]+$", "The journal's epoch; restoring a backup raises it."),
      [headers.dictionary]: text("^[0-9]+$", "How many dictionary entries a reader needs."),
      [headers.mustUnderstand]: { type: "string", const: "1", description: "An older decider must step down rather than ignore it." },
      [headers.saw]: text("^([A-Z]+=[0-9]+(,[A-Z]+=[0-9]+)*)?$", "What the writer had seen when it decided, per stream."),
      [headers.decided]: text("^[0-9]+/[0-9]+/[0-9]+$", "The decision's clock reading in ms, this commit's place in it, and of how many."),
      [headers.traceparent]: { type: "string", description: "W3C trace context." },
      [headers.tracestate]: { type: "string", description: "W3C trace context." }
    }
  }
}

/**
 * The catalogue as an AsyncAPI 3.0 document: a channel for each kind, a message for each fact, and one
 * `send` for each service that writes. Whoever may hear a kind is said by its scope.
 *
 * Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
 */
export const asyncApi = (docs: Docstrings): string => {
  const channels: Record<string, unknown> = {}
  const operations: Record<string, unknown> = {}
  const messages: Record<string, unknown> = {}
  for (const kind of kinds as ReadonlyArray<Kind>) {
    const channel = channelOf(kind)
    const named = [...addressOf(kind).matchAll(/\{(\w+)\}/gu)].map(([, name]) => name as string)
    const names = kind.facts.map(nameOf)
    channels[channel] = {
      address: addressOf(kind),
      description: `Stream ${kind.stream}; filter ${filterOf(kind)}.`,
      ...(named.length === 0 ? {} : { parameters: Object.fromEntries(named.map((name) => [name, { description: `Which ${name}.` }])) }),
      messages: Object.fromEntries(names.map((name) => [name, { $ref: `#/components/messages/${name}` }]))
    }
    operations[`${writers[kind.stream]}-tells-${channel}`] = {
      action: "send",
      channel: { $ref: `#/channels/${channel}` },
      bindings: { nats: { bindingVersion: "0.1.0" } },
      messages: names.map((name) => ({ $ref: `#/channels/${channel}/messages/${name}` }))
    }
    for (const name of names) {
      messages[name] = {
        name,
        title: `${name}/${versions.get(name)}`,
        summary: firstSentence(docs.of(name) ?? name),
        contentType: "application/vnd.millrace.commit+msgpack",
        headers: { $ref: "#/components/schemas/CommitHeaders" },
        payload: { $ref: `./json-schema/${name}.v${versions.get(name)}.json` }
      }
    }
  }
  return stringify({
    asyncapi: "3.0.0",
    info: {
      title: "Millrace",
      version: "1",
      description:
        "Every fact that Millrace tells. A NATS message is a commit: one msgpack array with the bodies of 1 to n facts, whose names and ids are in the headers. Written by npm run schemas; do not edit.",
      license: { name: "Apache-2.0" }
    },
    defaultContentType: "application/vnd.millrace.commit+msgpack",
    servers: { journal: { host: "127.0.0.1:4222", protocol: "nats", description: "Services' account of the journal." } },
    channels,
    operations,
    components: { messages, schemas: { CommitHeaders: headerSchema() } }
  }, { lineWidth: 0, aliasDuplicateObjects: false })
}
