// Loaded before a test's own time begins: where time is made to pass, nobody waits for a file.
import "@aws-sdk/client-ec2"
import { HttpMethod, type HttpLibrary, Observable, ResponseContext } from "@kubernetes/client-node"
import type { ProviderName } from "@millrace/schemas"
import { type CoreWeaveApi, coreWeaveCloud, type Ec2Api, ec2Cloud, type VastApi, vastCloud } from "@millrace/sky"
import { Clock, Effect, Redacted } from "effect"
import { coreWeave } from "../providers/coreweave.ts"
import { ec2 } from "../providers/ec2.ts"
import { vast } from "../providers/vast.ts"
import type { Vendor } from "./life.ts"

export { atLambda } from "./life.ts"

/** A request as the vendor's client hands it over to be sent. */
interface Sent {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** The client's way to an EC2 in this process, in the test's own time. */
const wiredToAmazon = (api: Ec2Api, clock: Clock.Clock): Record<string, unknown> => ({
  handle: ({ body, headers, method, path, query }: Sent) => {
    const answer = api.answer({
      method, path, url: path, query: new URLSearchParams(query), body: String(body ?? ""), atMs: clock.currentTimeMillisUnsafe(),
      headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
    })
    const said = { statusCode: answer.status, headers: { ...answer.headers }, body: Buffer.from(String(answer.body)) }
    return answer.cut === true ? Promise.reject(new Error("the connection broke")) : Promise.resolve({ response: said })
  },
  updateHttpClientConfig: () => undefined,
  httpHandlerConfigs: () => ({})
})

const amazon = "aws" as ProviderName
const key = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "a-secret-of-the-test" }
const amazonPrices = { source: "the test's", regions: { "us-east-1": { "t3.small": "0.0208" } } }

/** Amazon's EC2, through the vendor's client. */
export const atAmazon: Vendor<Ec2Api> = {
  name: amazon,
  // The client signs by the true clock, and this world begins in 1970.
  cloud: ec2Cloud({ ...key, bootMs: 5_000, endMs: 3_000, skewMsMax: Number.POSITIVE_INFINITY }),
  client: (room) => Effect.flatMap(Clock.Clock, (clock) => Effect.orDie(Effect.scoped(ec2({
    name: amazon, endpoint: "http://ec2", credentials: () => Promise.resolve(key), http: wiredToAmazon(room, clock), prices: amazonPrices,
    settings: { regions: ["us-east-1"], image: "resolve:ssm:/millrace/host" }, can: { visibleWithinMs: 10_000 }
  }))))
}

const region = "US-EAST-04A"
const prices = [{ instanceType: "cd-small", vcpus: 1, memoryGib: 1, diskGib: 10, gpus: 0, fabric: false, dollarsPerHour: "0.06", source: "made up" }]

/** The client's way to a cluster in this process, in the test's own time. */
const wiredToCluster = (api: CoreWeaveApi, clock: Clock.Clock): HttpLibrary => ({
  send: (request) => {
    const url = new URL(request.getUrl())
    const headers = Object.fromEntries(Object.entries(request.getHeaders()).map(([name, value]) => [name.toLowerCase(), value]))
    const answer = api.answer({
      method: request.getHttpMethod() ?? HttpMethod.GET, path: url.pathname, url: `${url.pathname}${url.search}`, query: url.searchParams, headers, body: String(request.getBody() ?? ""), atMs: clock.currentTimeMillisUnsafe()
    })
    const body = Buffer.from(JSON.stringify(answer.body))
    const response = new ResponseContext(answer.status, { "content-type": "application/json", ...answer.headers }, { text: () => Promise.resolve(body.toString("utf8")), binary: () => Promise.resolve(body), stream: () => null })
    return new Observable(answer.cut === true ? Promise.reject(new Error("the connection broke")) : Promise.resolve(response))
  }
})

const coreweave = "coreweave" as ProviderName

/** A cluster at CoreWeave, whose machines arrive after so long. */
export const atCluster = (bootMs: number): Vendor<CoreWeaveApi> => ({
  name: coreweave,
  cloud: coreWeaveCloud({ token: "right", bootMs, endMs: 3_000, region }),
  client: (room) => Effect.flatMap(Clock.Clock, (clock) => coreWeave({
    name: coreweave, endpoint: "https://cluster", apiKey: Redacted.make("right"), http: wiredToCluster(room, clock), can: { requestsEvery: { anyMs: 0, createMs: 0 } },
    settings: { region, image: "docker.io/millrace/host", instanceTypes: ["cd-small"], prices }
  }))
})

const market = "vast" as ProviderName

/** Vast.ai's market, whose offers live for so long. */
export const atMarket = (offerMs: number): Vendor<VastApi> => ({
  name: market,
  cloud: vastCloud({ apiKey: "right", bootMs: 5_000, endMs: 3_000, market: { offerMs, rivalMs: Number.POSITIVE_INFINITY } }),
  client: () => vast({ name: market, endpoint: "http://sky", apiKey: Redacted.make("right"), images: { machine: "vm", container: "container" } })
})
