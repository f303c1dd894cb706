import { assert, beforeEach, describe, it } from "vitest"
import { dark } from "../machines.ts"
import { Site } from "../site.ts"
import { type Ec2Api, ec2Cloud } from "./ec2-api.ts"
import { signatureOf } from "./sigv4.ts"

const key = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" }
const startMs = Date.UTC(2026, 10, 22, 10, 0, 0)

/** A client of its own: form bodies and signatures made here, answers read as text. */
class Caller {
  atMs = startMs
  readonly site: Site
  readonly #api: Ec2Api

  constructor(cloud: Partial<Parameters<typeof ec2Cloud>[0]> = {}) {
    const { open, ...rest } = ec2Cloud({ ...key, ...cloud })
    this.site = new Site({ ...rest, cloud: "ec2", power: dark })
    this.#api = open(this.site)
  }

  get left() {
    return this.#api.left
  }

  says(Action: string, parameters: Readonly<Record<string, string>> = {}, { region = "us-east-1", version = "2016-11-15" } = {}) {
    const stamp = new Date(this.atMs).toISOString().replace(/[-:]|\.\d{3}/gu, "")
    const names = "content-type;host;x-amz-date"
    const bare = {
      method: "POST", url: "/", path: "/", query: new URLSearchParams(), atMs: this.atMs,
      body: new URLSearchParams({ Action, Version: version, ...parameters }).toString(),
      headers: { host: "ec2", "content-type": "application/x-www-form-urlencoded", "x-amz-date": stamp }
    }
    const signature = signatureOf(bare, { names, stamp, region, service: "ec2" }, key.secretAccessKey)
    const authorization = `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${stamp.slice(0, 8)}/${region}/ec2/aws4_request, SignedHeaders=${names}, Signature=${signature}`
    const { body, cut, status } = this.#api.answer({ ...bare, headers: { ...bare.headers, authorization } })
    const text = String(body)
    const all = (name: string) => [...text.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, "gu"))].map(([, value]) => value ?? "")
    return { status, cut, text, all, code: all("Code")[0], machine: all("instanceId")[0] ?? "" }
  }

  runs(parameters: Readonly<Record<string, string>> = {}, where: { readonly region?: string } = {}) {
    return this.says("RunInstances", { ImageId: "ami-0123456789abcdef0", MinCount: "1", MaxCount: "1", InstanceType: "g6.xlarge", ...parameters }, where)
  }
}

describe("the pretend EC2", () => {
  let caller: Caller
  beforeEach(() => {
    caller = new Caller()
  })

  it("takes what the API reference names, and nothing else", () => {
    caller = new Caller({ limits: { other: { burst: 100, perSecond: 100 } } })
    assert.deepStrictEqual([
      caller.says("RunAnything").code,
      caller.says("DescribeInstances", {}, { version: "2010-01-01" }).code,
      caller.says("RunInstances", { ImageId: "ami-0123456789abcdef0", MinCount: "1" }).code,
      caller.says("TerminateInstances").code,
      caller.runs({ Colour: "red" }).code,
      caller.runs({ ImageId: "an-image" }).code,
      caller.runs({ InstanceType: "none-such" }).code,
      caller.runs({ UserData: "!!" }).code,
      caller.runs({ UserData: Buffer.alloc(16_385).toString("base64") }).code,
      caller.runs({ ClientToken: "x".repeat(65) }).code,
      caller.runs({ SubnetId: "subnet-1" }).code,
      caller.runs({ "Placement.AvailabilityZone": "us-west-2a" }).code,
      caller.runs({ InstanceType: "p5.48xlarge", "Placement.AvailabilityZone": "us-east-1c" }).code,
      caller.runs({ "InstanceMarketOptions.MarketType": "spot", "InstanceMarketOptions.SpotOptions.MaxPrice": "0.0005" }).code,
      caller.says("DescribeInstances", { "Filter.1.Name": "colour", "Filter.1.Value.1": "red" }).code,
      caller.says("DescribeInstances", { MaxResults: "4" }).code,
      caller.says("DescribeInstances", { "InstanceId.1": "i-nonsense" }).code,
      caller.says("DescribeInstances", { "InstanceId.1": "i-0123456789abcdef0" }).code,
      caller.says("DescribeInstanceTypes", { "InstanceType.1": "none-such" }).code
    ], [
      "InvalidAction", "InvalidAction", "MissingParameter", "MissingParameter", "UnknownParameter", "InvalidAMIID.Malformed", "InvalidParameterValue",
      "InvalidParameterValue", "InvalidParameterValue", "InvalidParameterValue", "InvalidSubnetID.NotFound", "InvalidParameterValue", "Unsupported",
      "InvalidParameterValue", "InvalidParameterValue", "InvalidParameterValue", "InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound", "InvalidInstanceType"
    ])
    assert.deepStrictEqual(caller.site.books.all, [])
  })

  it("gives one token one machine in each region, and other words under it nothing", () => {
    const first = caller.runs({ ClientToken: "t" })
    assert.deepStrictEqual([caller.runs({ ClientToken: "t" }).machine, caller.runs({ ClientToken: "t", InstanceType: "g5.xlarge" }).code], [first.machine, "IdempotentParameterMismatch"])
    assert.notStrictEqual(caller.runs({ ClientToken: "t" }, { region: "us-west-2" }).machine, first.machine)
    caller.says("TerminateInstances", { "InstanceId.1": first.machine })
    caller.atMs += 1_000
    const after = caller.runs({ ClientToken: "t" })
    assert.deepStrictEqual([after.machine, after.all("name")[0], caller.site.books.all.length], [first.machine, "terminated", 2])
  })

  it("tries a dry run to its end, and does nothing", () => {
    const tried = caller.runs({ DryRun: "true" })
    assert.deepStrictEqual([tried.code, tried.status, caller.site.books.all], ["DryRunOperation", 412, []])
    caller.site.sky.set({ forbidden: ["RunInstances"] })
    const forbidden = caller.runs({ DryRun: "true" })
    assert.deepStrictEqual([forbidden.code, forbidden.status], ["UnauthorizedOperation", 403])
  })

  it("goes on where a page ended, and takes its token for the same question alone", () => {
    caller = new Caller({ limits: { other: { burst: 100, perSecond: 100 } } })
    for (let at = 0; at < 7; at += 1) caller.runs({ ClientToken: `t${at}` })
    const first = caller.says("DescribeInstances", { MaxResults: "5" })
    const NextToken = first.all("nextToken")[0] ?? ""
    const rest = caller.says("DescribeInstances", { MaxResults: "5", NextToken })
    assert.deepStrictEqual([first.all("instanceId").length, rest.all("instanceId").length, rest.all("nextToken")], [5, 2, []])
    assert.strictEqual(caller.says("DescribeSpotInstanceRequests", { MaxResults: "5", NextToken }).code, "InvalidPaginationToken")
  })

  it("throttles each action of a region by its bucket, and lets it fill again", () => {
    for (let at = 0; at < 5; at += 1) assert.strictEqual(caller.runs().status, 200)
    const sixth = caller.runs()
    assert.deepStrictEqual([sixth.code, sixth.status, caller.runs({}, { region: "us-west-2" }).status, caller.says("DescribeInstances").status], ["RequestLimitExceeded", 503, 200, 200])
    caller.atMs += 500
    assert.deepStrictEqual([caller.runs().status, caller.runs().status], [200, 503])
  })

  it("marks a spot instance two minutes before it takes it, and says why it is gone", () => {
    const { machine } = caller.runs({ "InstanceMarketOptions.MarketType": "spot" })
    caller.site.reclaim(caller.site.books.get(machine)!, { atMs: caller.atMs, noticeMs: 120_000 })
    const marked = caller.says("DescribeSpotInstanceRequests", { "Filter.1.Name": "status-code", "Filter.1.Value.1": "marked-for-termination" })
    assert.deepStrictEqual([marked.machine, marked.all("updateTime")], [machine, [new Date(startMs).toISOString()]])
    caller.atMs += 120_000
    const gone = caller.says("DescribeInstances")
    assert.deepStrictEqual([gone.all("name").includes("terminated"), gone.all("code").includes("Server.SpotInstanceTermination")], [true, true])
    caller.atMs += 3_600_001
    assert.deepStrictEqual(caller.says("DescribeInstances").all("instanceId"), [])
  })

  it("bills whole seconds and at least a minute, from when it runs until its end is asked for, at the price of its market", () => {
    caller = new Caller({ bootMs: 30_000, endMs: 20_000 })
    const { machine } = caller.runs({ InstanceType: "p5.48xlarge" })
    const spot = caller.runs({ InstanceType: "p5.48xlarge", "InstanceMarketOptions.MarketType": "spot", "Placement.AvailabilityZone": "us-east-1b" }).machine
    caller.atMs += 130_400
    caller.says("DescribeInstances")
    caller.says("TerminateInstances", { "InstanceId.1": machine })
    caller.says("TerminateInstances", { "InstanceId.1": spot })
    caller.atMs += 600_000
    const cost = (dollarsPerHour: number, seconds: number) => BigInt(Math.ceil((dollarsPerHour * 1e12 * seconds) / 3600))
    assert.deepStrictEqual(caller.site.books.bills(caller.atMs).map(({ billedMs, costPico }) => [billedMs, costPico]), [[101_000, cost(55.04, 101)], [101_000, cost(55.04 * 0.34 * 0.94, 101)]])
    const brief = caller.runs()
    caller.atMs += 30_000
    caller.says("TerminateInstances", { "InstanceId.1": brief.machine })
    assert.strictEqual(caller.site.books.bills(caller.atMs)[2]?.billedMs, 60_000)
  })

  it("keeps a volume that nobody asked to end with its machine, and says so", () => {
    const { machine } = caller.runs({ "BlockDeviceMapping.1.DeviceName": "/dev/sda1", "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "false" })
    const clean = caller.runs({ "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true" })
    caller.says("TerminateInstances", { "InstanceId.1": machine, "InstanceId.2": clean.machine })
    assert.deepStrictEqual(caller.left, [`the volume of ${machine}`])
  })
})
