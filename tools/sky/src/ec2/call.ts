import type { Machine } from "../books.ts"
import type { Site } from "../site.ts"
import type { Limit } from "./bucket.ts"
import type { Parameters, Xml } from "./query.ts"
import type { Reservation } from "./reservations.ts"
import type { AwsKey } from "./sigv4.ts"

export interface Ec2Account extends AwsKey {
  /** Images that the account may start; any well-formed one, where none are named. */
  readonly images?: ReadonlyArray<string>
  /** Subnet to zone. */
  readonly subnets?: Readonly<Record<string, string>>
  readonly securityGroups?: ReadonlyArray<string>
  /** What the account has reserved. */
  readonly reservations?: ReadonlyArray<Reservation>
  /** Requests at once and more each second, per action and region. */
  readonly limits: Readonly<Record<string, Limit>> & { readonly other: Limit }
  /** How far a client's clock may be from ours, in ms. */
  readonly skewMsMax?: number
  /** A page holds no more than that, whatever was asked for. */
  readonly pageMax: number
}

/** An error as the API says it. */
export class Ec2Error extends Error {
  readonly code: string
  readonly status: number

  constructor(code: string, message: string, status = 400) {
    super(message)
    this.code = code
    this.status = status
  }
}

/** What an action sees: what it was asked, where, and what the account is. */
export interface Call {
  readonly parameters: Parameters
  readonly region: string
  readonly atMs: number
  readonly account: Ec2Account
  readonly site: Site
  /** What the API itself keeps of each machine. */
  readonly kept: Map<Machine, Kept>
  readonly tokens: Map<string, { readonly parameters: string; readonly machine: Machine }>
  readonly nextId: (kind: string) => string
}

export interface Kept {
  readonly image: string
  readonly clientToken: string
  readonly reservation: string
  readonly spotRequest?: string
  readonly maxPrice?: string
  readonly volumeStays: boolean
}

/** An answer's elements; `cut`: it happened, and the connection breaks. */
export type Done = Readonly<Record<string, Xml>> & { readonly cut?: true }

export interface Action {
  /** Parameters that must be there. */
  readonly wants: ReadonlyArray<string>
  /** Everything that it takes besides, lists by their first word. */
  readonly takes: ReadonlyArray<string>
  readonly does: (call: Call) => Done
}

/** Where a dry run ends: what comes before it has been checked, and nothing has been done. */
export const dryRunEnds = (parameters: Parameters): void => {
  if (parameters.flag("DryRun")) throw new Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
}

/** One page of what was found, and the token of the next. A token serves for the same question alone. */
export const page = <A>({ account, parameters, region }: Call, found: ReadonlyArray<A>, { max, min = 5 }: { readonly max: number; readonly min?: number }): { readonly items: ReadonlyArray<A>; readonly nextToken: string | undefined } => {
  const size = parameters.number("MaxResults")
  if (size !== undefined && !(size >= min && size <= max)) throw new Ec2Error("InvalidParameterValue", `Value ( ${size} ) for parameter maxResults is invalid. Expecting a value between ${min} and ${max}.`)
  const question = `${parameters.text("Action")} ${region} ${parameters.but("NextToken", "MaxResults")}`
  const from = startOf(parameters.text("NextToken"), question)
  const until = from + Math.min(size ?? max, account.pageMax)
  return { items: found.slice(from, until), nextToken: until < found.length ? Buffer.from(JSON.stringify([until, question])).toString("base64") : undefined }
}

const startOf = (token: string | undefined, question: string): number => {
  if (token === undefined) return 0
  try {
    const [from, asked] = JSON.parse(Buffer.from(token, "base64").toString("utf8")) as [number, string]
    if (asked === question) return from
  } catch {
    // Said below, as for any other token that is not of this question.
  }
  throw new Ec2Error("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
}

export interface Filter {
  readonly name: string
  readonly values: ReadonlyArray<string>
}

/** The filters of a call; all must hold, each for one of its values. `*` and `?` match as they do for the vendor. */
export const filtersIn = (parameters: Parameters, known: ReadonlyArray<string>): ReadonlyArray<Filter> =>
  parameters.structs("Filter").map((filter) => {
    const name = filter.text("Name") ?? ""
    if (!known.some((one) => one === name || (one.endsWith(":") && name.startsWith(one)))) throw new Ec2Error("InvalidParameterValue", `The filter '${name}' is invalid`)
    return { name, values: filter.list("Value") }
  })

export const matches = (values: ReadonlyArray<string>, text: string): boolean =>
  values.some((value) => new RegExp(`^${value.replace(/[.+^${}()|[\]\\]/gu, "\\$&").replaceAll("*", ".*").replaceAll("?", ".")}$`, "u").test(text))
