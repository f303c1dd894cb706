import type { Machine } from "../books.ts"
import type { Answer, Cloud, CloudRoom, Request } from "../cloud.ts"
import type { Site } from "../site.ts"
import { Bucket } from "./bucket.ts"
import { type Action, type Done, type Ec2Account, Ec2Error, type Kept } from "./call.ts"
import { catalogue } from "./catalogue.ts"
import { instances } from "./instances.ts"
import { checkedReservations, reservations } from "./reservations.ts"
import { errorXml, Parameters, xmlOf } from "./query.ts"
import { type AwsKey, verify } from "./sigv4.ts"
import { ec2Regions } from "./wares.ts"

/** By the vendor's page on request throttling: what only reads, and what makes and ends instances. */
export const ec2Limits: Ec2Account["limits"] = {
  RunInstances: { burst: 5, perSecond: 2 },
  TerminateInstances: { burst: 100, perSecond: 5 },
  other: { burst: 100, perSecond: 20 }
}

/** A pretend Amazon EC2 to run in the sky: whole seconds, at least sixty, from when an instance runs until its end is asked for. */
export const ec2Cloud = (
  { bootMs = 0, endMs = 0, limits = ec2Limits, pageMax = 1_000, ...account }: AwsKey & Partial<Ec2Account> & { readonly bootMs?: number; readonly endMs?: number }
): Cloud<Ec2Api> => ({
  billing: { stepMs: 1_000, minMs: 60_000, from: "running", until: "end_asked" },
  bootMs,
  endMs,
  open: (site) => new Ec2Api({ ...account, limits, pageMax }, site)
})

const actions: Readonly<Record<string, Action>> = { ...catalogue, ...instances, ...reservations }
const common = new Set(["Action", "Version", "DryRun"])

/**
 * Amazon EC2's Query API of 2016-11-15, as far as instances go: Signature Version 4, required and known parameters,
 * client tokens, dry runs, pages, throttling by token buckets, error codes with their HTTP status. Written from the
 * vendor's API reference, not from whoever calls it. One endpoint serves every region: the signature says which.
 */
export class Ec2Api implements CloudRoom {
  readonly #account: Ec2Account
  readonly #site: Site
  readonly #buckets = new Map<string, Bucket>()
  readonly #kept = new Map<Machine, Kept>()
  readonly #tokens = new Map<string, { readonly parameters: string; readonly machine: Machine }>()
  #count = 0
  /** Requests that were throttled without any weather: a well-behaved client causes none. */
  tooFast = 0

  constructor(account: Ec2Account, site: Site) {
    this.#account = { ...account, reservations: checkedReservations(account.reservations ?? []) }
    this.#site = site
  }

  /** Volumes that outlive their machine, since nobody asked for their end with it. */
  get left(): ReadonlyArray<string> {
    return [...this.#kept].flatMap(([machine, { volumeStays }]) => (volumeStays && this.#site.said(machine) === "terminated" ? [`the volume of ${machine.id}`] : []))
  }

  answer(request: Request): Answer {
    const requestId = this.#nextId("request")
    try {
      const { cut, ...body } = this.#act(request)
      return { status: 200, body: xmlOf(this.#parameters(request).text("Action") ?? "", requestId, body), headers: xmlType, ...(cut === true ? { cut } : {}) }
    } catch (error) {
      if (!(error instanceof Ec2Error)) throw error
      return { status: error.status, body: errorXml(error.code, error.message, requestId), headers: xmlType }
    }
  }

  readonly #nextId = (kind: string): string => {
    this.#count += 1
    return `${kind}-${(0x1000_0000_0000_0000n + BigInt(this.#count)).toString(16)}${"0"}`
  }

  #parameters(request: Request): Parameters {
    return new Parameters(request.method === "POST" ? new URLSearchParams(request.body) : request.query)
  }

  #act(request: Request): Done {
    const { sky } = this.#site
    const { region } = this.#signedFor(request)
    const parameters = this.#parameters(request)
    const name = parameters.text("Action")
    const action = name === undefined ? undefined : actions[name]
    if (name === undefined) throw new Ec2Error("MissingAction", "The request is missing an action.")
    if (parameters.text("Version") !== "2016-11-15" || action === undefined) throw new Ec2Error("InvalidAction", `The action ${name} is not valid for this web service.`)
    this.#throttle(name, region, request.atMs)
    if (sky.strikes("failing")) throw new Ec2Error("InternalError", "An internal error has occurred.", 500)
    if (sky.now.forbidden.includes(name)) throw new Ec2Error("UnauthorizedOperation", `You are not authorized to perform this operation. User is not authorized to perform: ec2:${name}`, 403)
    wellFormed(action, parameters)
    this.#site.settle(request.atMs)
    return action.does({ parameters, region, atMs: request.atMs, account: this.#account, site: this.#site, kept: this.#kept, tokens: this.#tokens, nextId: this.#nextId })
  }

  #signedFor(request: Request): { readonly region: string } {
    const { now } = this.#site.sky
    const verified = verify(request, this.#account, { service: "ec2", ...(this.#account.skewMsMax === undefined ? {} : { skewMsMax: this.#account.skewMsMax }) })
    if ("wrong" in verified) throw new Ec2Error(verified.wrong, verified.detail, { AuthFailure: 401, MissingAuthenticationToken: 403, IncompleteSignature: 400, RequestExpired: 400 }[verified.wrong])
    if (now.unauthorised) throw new Ec2Error("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    if (now.expired) throw new Ec2Error("RequestExpired", "Request has expired.")
    if (!ec2Regions.includes(verified.region)) throw new Ec2Error("AuthFailure", `There is no region ${verified.region}`, 401)
    return verified
  }

  #throttle(action: string, region: string, atMs: number): void {
    const key = `${action} ${region}`
    const bucket = this.#buckets.get(key) ?? new Bucket(this.#account.limits[action] ?? this.#account.limits.other)
    this.#buckets.set(key, bucket)
    const struck = this.#site.sky.strikes("tooMany")
    if (!struck && bucket.takes(atMs)) return
    if (!struck) this.tooFast += 1
    throw new Ec2Error("RequestLimitExceeded", "Request limit exceeded.", 503)
  }
}

const xmlType = { "content-type": "text/xml;charset=UTF-8" }

const wellFormed = ({ takes, wants }: Action, parameters: Parameters): void => {
  const unknown = parameters.names.find((name) => !common.has(name) && ![...takes, ...wants].includes(name.split(".")[0] ?? ""))
  if (unknown !== undefined) throw new Ec2Error("UnknownParameter", `The parameter ${unknown} is not recognized`)
  const missing = wants.find((want) => !parameters.names.some((name) => name === want || name.startsWith(`${want}.`)))
  if (missing !== undefined) throw new Ec2Error("MissingParameter", `The request must contain the parameter ${missing}`)
}
