import { Schema } from "effect"

const names = Schema.Array(Schema.String.pipe(Schema.check(Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/u)))).pipe(Schema.check(Schema.isMaxLength(32)))

/** Places that would do. Of each list one must be met; what is not named is not minded. */
export const Places = Schema.Struct({
  regions: Schema.optionalKey(names),
  providers: Schema.optionalKey(names),
  /** Where data may lie: `eu`, `us`, `uk` and so on, by the law that holds there. */
  residency: Schema.optionalKey(names),
  /** How work is kept apart from its host and from other work, by the names that hosts give their rungs: `gvisor-userns`, `gvisor`, `none`. */
  isolation: Schema.optionalKey(names)
})
export type Places = typeof Places.Type

/**
 * Where work may run. `only` is hard: what meets it nowhere waits. `rather` is a wish among those places that have
 * room. Without `spot` it stays off machines that their provider may take back: `never` says so aloud,
 * `tolerated` lets it, `rather` wishes for it.
 */
export const Where = Schema.Struct({
  only: Schema.optionalKey(Places),
  rather: Schema.optionalKey(Places),
  spot: Schema.optionalKey(Schema.Literals(["never", "tolerated", "rather"]))
})
export type Where = typeof Where.Type

/** What is known of where a machine stands, and how it isolates. */
export interface Stand {
  readonly region?: string | undefined
  readonly provider?: string | undefined
  readonly residency?: string | undefined
  /** The rung of its isolation, as its host proved it by trying. */
  readonly isolation?: string | undefined
}

/** The rung of a machine on which nothing keeps work apart. */
export const unisolated = "none"

/**
 * The rung of a host's sandboxes, by the labels that say what it proved: `gvisor-userns` where each has ids of its own,
 * `gvisor` where all run as the agent's account. A host may name another one itself by the label `isolation`.
 */
export const isolationOf = (labels: Readonly<Record<string, string>>): string => {
  const named = labels["isolation"]
  if (named !== undefined && /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/u.test(named)) return named
  return labels["sandbox"] !== "gvisor" ? unisolated : labels["sandbox-account"] === "a range of its own" ? "gvisor-userns" : "gvisor"
}

const laws: ReadonlyArray<readonly [residency: string, region: RegExp]> = [
  ["uk", /^(uk|gb\b)|^europe-west2\b|^eu-west-2\b|london/u],
  ["ch", /^ch\b|^europe-west6\b|^eu-central-2\b|switzerland|zurich/u],
  ["no", /^no\b|norway/u],
  ["eu", /^eu\b|^europe\b|^(fi|de|fr|se|nl|es|it|pl|ie|dk|at|be|cz|bg|hu|pt|ee)\b|^(fin|iceland-eu)|westeurope|northeurope|france|germany|sweden|italy|poland|spain|netherlands|finland/u],
  ["is", /^is\b|iceland/u],
  ["us", /^us\b|^usa\b|^(east|west|central|north|south)(central)?us|^na\b/u],
  ["ca", /^ca\b|canada|^northamerica-northeast\b|montreal|toronto/u],
  ["in", /^in\b|^ap-south-[12]\b|^asia-south[12]\b|india/u],
  ["jp", /^jp\b|japan|^ap-northeast-[13]\b|^asia-northeast[12]\b|tokyo/u],
  ["sg", /^sg\b|singapore|^ap-southeast-1\b|^asia-southeast1\b|^southeastasia/u],
  ["au", /^au\b|australia|^ap-southeast-[24]\b/u],
  ["il", /^il\b|israel|^me-west1\b/u]
]

/**
 * Under whose law data lies in a region, by the names that providers give their regions; undefined where the
 * name does not say. A machine may say so itself by the label `residency`.
 */
export const residencyOf = (region: string): string | undefined => laws.find(([, pattern]) => pattern.test(region.toLowerCase().replaceAll("_", "-")))?.[0]

/** What of some places a machine does not meet, in words; nothing when it meets all. */
export const missedBy = ({ isolation, provider, region, residency = region === undefined ? undefined : residencyOf(region) }: Stand, { isolation: rungs, providers, regions, residency: wanted }: Places): ReadonlyArray<string> => [
  ...missed("region", regions, region),
  ...missed("provider", providers, provider),
  ...missed("residency", wanted, residency),
  ...missed("isolation", rungs, isolation)
]

const missed = (what: string, wanted: ReadonlyArray<string> | undefined, has: string | undefined): ReadonlyArray<string> =>
  wanted === undefined || wanted.length === 0 || (has !== undefined && wanted.includes(has)) ? [] : [`${what} ${wanted.join(" or ")}`]
