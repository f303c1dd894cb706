import { lineOf, type Offence, placesOf, type Rule, type Source, targetOf } from "./source.ts"
import { roomOf } from "./rooms.ts"

const services = ["gateway", "scheduler", "broker", "snapshots", "metering", "access", "host"]
const anyService = services.join("|")

const serviceOf = (path: string): string | undefined => /^services\/([^/]+)/u.exec(path)?.[1]
const inService = ({ path }: Source): boolean => serviceOf(path) !== undefined && roomOf(path) !== "tests and tools"
const told = ({ path }: Source, line: number, what: string): Offence => ({ path, line, what })

/** Where a string stands, by its number in the masked code. */
const lineOfString = (file: Source, index: number): number => lineOf(file.code, Math.max(0, file.code.indexOf(`"${index}"`)))

const stringsOf = (file: Source, pattern: RegExp, what: (text: string) => string | undefined): ReadonlyArray<Offence> =>
  file.strings.flatMap((text, index) => {
    const said = pattern.test(text) ? what(text) : undefined
    return said === undefined ? [] : [told(file, lineOfString(file, index), said)]
  })

const socketModules = /^(node:(http|https|http2|net|tls|dgram)|undici|axios|ws|effect\/http|@nats-io\/.*)$/u
const asking = /\b(fetch|HttpClient|FetchHttpClient|NodeHttpClient|WebSocket|EventSource)\b/gu

/**
 * The two doors that a host knocks at from outside: it may not speak in the journal before access has let it
 * in, and bytes travel beside the journal, over the gateway's relay. Neither asks a service to decide.
 */
const doorsForHosts = new Set(["host: MILLRACE_ACCESS_URL", "host: MILLRACE_GATEWAY_URL"])

/** No service calls another. */
export const noServiceCallsAnother = (packages: ReadonlyMap<string, string>): Rule => ({
  name: "no service calls another",
  because: "a call is a dependency that no replay can see: services meet in the journal and nowhere else",
  offences: (sources) => sources.filter(inService).flatMap((file) => {
    const mine = serviceOf(file.path)
    const imported = file.imports.flatMap((found) => {
      const target = targetOf(file, found, packages)
      const other = target.to === "outside" ? undefined : serviceOf(`${target.path}/`)
      return other !== undefined && other !== mine ? [told(file, found.line, `imports the service ${other}`)] : []
    })
    const addressed = stringsOf(
      file,
      new RegExp(`^MILLRACE_(${anyService.toUpperCase()})_(URL|ADDRESS|HOST|PORT)$|^https?://(${anyService})\\b`, "u"),
      (text) => new RegExp(`(_|//)${mine}`, "iu").test(text) || doorsForHosts.has(`${mine}: ${text}`) ? undefined : `knows the address of another service: ${text}`
    )
    // Adapters speak to the foreign system that they are for; nobody else has anyone to speak to.
    if (roomOf(file.path) === "adapters" || roomOf(file.path) === "assembly") return [...imported, ...addressed]
    return [
      ...imported,
      ...addressed,
      ...file.imports.filter(({ specifier, typeOnly }) => !typeOnly && socketModules.test(specifier)).map(({ line, specifier }) => told(file, line, `opens sockets with ${specifier}`)),
      ...placesOf(file, asking, ([name]) => `asks somebody with ${name}`)
    ]
  })
})

const tableNaming = /\b(?:selectFrom|insertInto|updateTable|deleteFrom|replaceInto|mergeInto|(?:inner|left|right|full|cross)Join|createTable|alterTable|dropTable|withSchema|table)\s*\(\s*"(\d+)"|\bprojection\b[^(]*\(\)[^(]*\(\{\s*name:\s*"(\d+)"/gu
const tableInText = new RegExp(`\\b(?:from|join|into|update|table|truncate)\\s+(?:only\\s+)?"?(${anyService})"?\\."?[a-z_]+`, "iu")

/** No table is read by two services. */
export const noTableIsReadByTwoServices: Rule = {
  name: "no table is read by two services",
  because: "a table is what one service remembers, and it may throw it away and remember otherwise",
  offences: (sources) => sources.filter(inService).flatMap((file) => {
    const mine = serviceOf(file.path)
    const named = [...file.code.matchAll(tableNaming)].flatMap((match) => {
      const text = file.strings[Number(match[1] ?? match[2])] ?? ""
      const [owner] = text.split(/[. ]/u)
      return owner !== undefined && services.includes(owner) && owner !== mine ? [told(file, lineOf(file.code, match.index), `uses ${owner}'s table ${text}`)] : []
    })
    const written = stringsOf(file, tableInText, (text) => {
      const owner = tableInText.exec(text)?.[1]?.toLowerCase()
      return owner === mine ? undefined : `uses ${owner}'s table in: ${text.trim().slice(0, 60)}`
    })
    return [...named, ...written]
  })
}

const ambient = /\b(Date|Math\s*\.\s*random|performance|setTimeout|setInterval|setImmediate|queueMicrotask|process|fetch|WebSocket|Clock|Random|TestClock|DateTime\s*\.\s*now|randomUUID|randomBytes|randomInt|getRandomValues|Intl|globalThis|Bun|Deno)\b/gu
const pureCrypto = ["hash", "createHash", "timingSafeEqual"]

/** No decision looks at a clock, chance or a socket. */
export const noDecisionLooksAround: Rule = {
  name: "no decision looks at a clock, chance or a socket",
  because: "a decision that looked at something outside its arguments decides otherwise when it is replayed",
  offences: (sources) => sources.filter(({ path }) => roomOf(path) === "domain" || roomOf(path) === "libs/decider").flatMap((file) => [
    ...placesOf(file, ambient, ([name]) => `looks at ${name}`),
    ...file.imports.filter(({ specifier }) => specifier.startsWith("node:")).flatMap(({ line, names, specifier }) =>
      specifier !== "node:crypto"
        ? [told(file, line, `reaches the machine through ${specifier}`)]
        : names.filter((name) => !pureCrypto.includes(name)).map((name) => told(file, line, `takes ${name} from node:crypto, which is not a function of its arguments`))),
    ...file.imports.filter(({ specifier, typeOnly }) => !typeOnly && socketModules.test(specifier)).map(({ line, specifier }) => told(file, line, `opens sockets with ${specifier}`))
  ])
}

const changing = /\.\s*(purge|purgeStream|deleteMessage|deleteMsg|rollup)\s*\(|\bstreams\s*\.\s*(update|delete|purge|deleteMessage)\s*\(/gu
const changingInText = /Nats-(Rollup|TTL|Schedule)|\$JS\.API\.STREAM\.(UPDATE|DELETE|PURGE|MSG\.DELETE)/u

/** Where the log's streams are made and guarded, and where bytes that are no facts are kept in streams of their own. */
const mayName = ["libs/journal", "libs/blobs", "infra", "tests and tools"]

/** No fact is ever changed. */
export const noFactIsChanged: Rule = {
  name: "no fact is ever changed",
  because: "what has been said stays said: replay, audit and every table rest on it",
  offences: (sources) => sources.filter(({ path }) => !mayName.includes(roomOf(path) ?? "")).flatMap((file) => [
    ...placesOf(file, changing, ([call]) => `changes what a stream holds: ${call.replace(/\s/gu, "")})`),
    ...stringsOf(file, changingInText, (text) => `names a way to change what a stream holds: ${text.slice(0, 60)}`)
  ])
}

const keepsFacts: Readonly<Record<string, unknown>> = {
  deny_delete: true, deny_purge: true, allow_rollup_hdrs: false, retention: "limits", discard: "new", max_age: 0, max_msgs: -1, max_msgs_per_subject: -1
}

/** What in a stream's configuration would let a fact go or be overwritten. What is left out the server leaves open. */
export const whatForgets = (config: Readonly<Record<string, unknown>>): ReadonlyArray<string> => [
  ...Object.entries(keepsFacts).filter(([field, wanted]) => config[field] !== wanted).map(([field, wanted]) => `${field} is ${String(config[field])} and must be ${String(wanted)}`),
  ...["allow_msg_ttl", "allow_msg_schedules", "allow_msg_counter"].filter((field) => config[field] === true).map((field) => `${field} is true`)
]

/** A fact's document, as schemas/generated/json-schema holds it. */
export interface FactDocument {
  readonly path: string
  readonly schema: unknown
}

const besideTheJournal: ReadonlyArray<{ readonly word: RegExp; readonly what: string }> = [
  { word: /^(heartbeats?|beat|ping|keepalive)(AtMs)?$/iu, what: "a heartbeat: it travels on core NATS" },
  { word: /^(logs?|logLines?|lines?|stdout|stderr|output|trace)$/iu, what: "a log line: it travels on the wire, or lies in the blob store" },
  { word: /^(samples?|series|cpuPercent|memoryUsedMib|gpuUtilisation|metrics?)$/iu, what: "a sample: it goes to telemetry" },
  { word: /^(content|contents|bytes|data|body|file|files|payload|archive|blobBytes|chunk)$/iu, what: "a file: it lies in the blob store, and the fact carries digest and size" },
  { word: /^(secret|secretValue|password|passphrase|token|apiKey|privateKey|seed|credentials?|env|argv|prompt)$/iu, what: "a secret: facts hold names and versions, or digests, or what is sealed" }
]

/** Places where such a word names something else, and what. */
const known = new Map<string, string>([
  ["LeaseRequested.token", "the name under which a provider tells a repeated request; it opens nothing"]
])

interface Shape {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Shape>>
  readonly items?: Shape
  readonly anyOf?: ReadonlyArray<Shape>
  readonly allOf?: ReadonlyArray<Shape>
  readonly additionalProperties?: Shape | boolean
  readonly contentEncoding?: string
  readonly format?: string
  readonly $ref?: string
  readonly $defs?: Readonly<Record<string, Shape>>
}

/** Every property of a document with its path and its shape. */
const fieldsOf = (shape: Shape | undefined, path: string): ReadonlyArray<readonly [path: string, name: string, shape: Shape]> => {
  if (shape === undefined || typeof shape !== "object") return []
  return [
    ...Object.entries(shape.properties ?? {}).flatMap(([name, inner]) => [[`${path}.${name}`, name, inner] as const, ...fieldsOf(inner, `${path}.${name}`)]),
    ...fieldsOf(shape.items, `${path}[]`),
    ...[...(shape.anyOf ?? []), ...(shape.allOf ?? [])].flatMap((inner) => fieldsOf(inner, path)),
    ...Object.entries(shape.$defs ?? {}).flatMap(([name, inner]) => fieldsOf(inner, `${path}#${name}`)),
    ...(typeof shape.additionalProperties === "object" ? fieldsOf(shape.additionalProperties, `${path}{}`) : [])
  ]
}

/** A count of bytes is no bytes; a digest or an id of a secret is no secret. */
const isQuantity = ({ type }: Shape): boolean => type === "integer" || type === "number" || type === "boolean"

/** No heartbeat, log line, sample, file or secret is in the journal. */
export const whatStandsBesideTheJournal = (documents: ReadonlyArray<FactDocument>): Rule => ({
  name: "no heartbeat, log line, sample, file or secret is in the journal",
  because: "the journal is read again for years, by many: what is large, fleeting or secret travels beside it",
  offences: () => documents.flatMap(({ path, schema }) => {
    const fact = /([A-Za-z]+)\.v\d+\.json$/u.exec(path)?.[1] ?? path
    return fieldsOf(schema as Shape, fact).flatMap(([field, name, shape]) => {
      if (shape.contentEncoding !== undefined || shape.format === "binary" || shape.format === "byte") {
        return [{ path, line: 1, what: `${field} holds raw bytes: over 16 KiB they are a BlobRef` }]
      }
      const found = isQuantity(shape) || known.has(field) ? undefined : besideTheJournal.find(({ word }) => word.test(name))
      return found === undefined ? [] : [{ path, line: 1, what: `${field} looks like ${found.what}` }]
    })
  })
})
