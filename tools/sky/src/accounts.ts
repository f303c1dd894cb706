import { randomBytes } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Cloud, CloudRoom } from "./cloud.ts"
import { coreWeaveCloud } from "./coreweave/coreweave-api.ts"
import { coreWeaveWares } from "./coreweave/wares.ts"
import { ec2Cloud } from "./ec2/ec2-api.ts"
import { ec2Regions, ec2Wares } from "./ec2/wares.ts"
import { lambdaCloud } from "./lambda/lambda-api.ts"
import { dollarsText } from "./prices.ts"
import type { RunningSky } from "./sky.ts"
import { vastCloud } from "./vast/vast-api.ts"

export const vendors = ["lambda", "ec2", "vast", "coreweave"] as const
export type VendorName = (typeof vendors)[number]

/** At least one of them. */
export type Vendors = readonly [VendorName, ...ReadonlyArray<VendorName>]

/** Names between commas; `unknown` says which of them is none. */
export const vendorsIn = (text: string): Vendors | { readonly unknown: string } => {
  const named = text.split(",")
  const unknown = named.find((name) => !vendors.some((vendor) => vendor === name))
  return unknown === undefined ? named as unknown as Vendors : { unknown }
}

interface Account {
  readonly cloud: Cloud<CloudRoom>
  /** What a broker's entry of it holds besides its name, what it speaks and its endpoint. */
  readonly entry: Readonly<Record<string, unknown>>
}

export interface AccountOptions {
  /** Where keys, prices and certificates lie; keys are made there when missing. */
  readonly folder: string
  /** Lets callers ask as fast as they like, where the vendor's documents do not. */
  readonly quick: boolean
}

const secretIn = (path: string): string => {
  if (!existsSync(path)) writeFileSync(path, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 })
  return readFileSync(path, "utf8").trim()
}

const written = (path: string, text: string): string => {
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** How fast callers are told to ask, in ms. The clouds take twice that: two calls may come closer than they went. */
const quickly = { anyMs: 10, createMs: 50 }
const entryOf = (quick: boolean) => (quick ? { everyMs: { any: quickly.anyMs, create: quickly.createMs }, visibleWithinMs: 1_000 } : {})

/** An account at each pretend vendor: the cloud that knows its keys, and what a broker is told of it. */
const accounts: Readonly<Record<VendorName, (options: AccountOptions) => Account>> = {
  lambda: ({ folder, quick }) => {
    const keyFile = join(folder, "sky.key")
    return {
      cloud: lambdaCloud({ apiKey: secretIn(keyFile), ...(quick ? { everyMs: { any: quickly.anyMs / 2, launch: quickly.createMs / 2 } } : {}) }),
      entry: { keyFile, ...entryOf(quick) }
    }
  },
  ec2: ({ folder, quick }) => {
    const key = { accessKeyId: "AKIDOFTHEPRETENDSKY1", secretAccessKey: secretIn(join(folder, "ec2.key")) }
    const keyFile = written(join(folder, "ec2.credentials"), `[default]\naws_access_key_id = ${key.accessKeyId}\naws_secret_access_key = ${key.secretAccessKey}\n`)
    const perHour = Object.fromEntries(ec2Wares.map(({ name, picoPerHour }) => [name, dollarsText(picoPerHour)]))
    const prices = { source: ec2Wares.at(-1)?.source, regions: Object.fromEntries(ec2Regions.map((region) => [region, perHour])) }
    return {
      cloud: ec2Cloud({ ...key, ...(quick ? { limits: { other: { burst: 1_000, perSecond: 1_000 } } } : {}) }),
      entry: { keyFile, ...entryOf(quick), ec2: { regions: ec2Regions, image: "resolve:ssm:/millrace/host", priceFile: written(join(folder, "ec2-prices.json"), JSON.stringify(prices)) } }
    }
  },
  vast: ({ folder, quick }) => {
    const keyFile = join(folder, "vast.key")
    return {
      cloud: vastCloud({ apiKey: secretIn(keyFile), ...(quick ? { pace: 0 } : {}) }),
      entry: { keyFile, ...entryOf(quick), images: { machine: "docker.io/millrace/host-vm", container: "docker.io/millrace/host" } }
    }
  },
  coreweave: ({ folder, quick }) => {
    const keyFile = join(folder, "coreweave.key")
    const cloud = coreWeaveCloud({ token: secretIn(keyFile) })
    const prices = coreWeaveWares.map(({ gpu, gpuMemoryGib, gpus, memoryGib, name, picoPerHour, source, spotPicoPerHour, vcpus }) => ({
      instanceType: name, vcpus, memoryGib, diskGib: 100, gpus, fabric: gpus > 0, dollarsPerHour: cents(picoPerHour), source,
      ...(gpu === undefined || gpuMemoryGib === undefined ? {} : { gpuModel: gpu, gpuMemoryGib }),
      ...(spotPicoPerHour === undefined ? {} : { spotDollarsPerHour: cents(spotPicoPerHour) })
    }))
    return { cloud, entry: { keyFile, ...entryOf(quick), coreweave: { region: "US-EAST-04A", image: "docker.io/millrace/host", caFile: written(join(folder, "coreweave-ca.pem"), cloud.tls?.ca ?? ""), prices } } }
  }
}

const cents = (picoPerHour: bigint): string => (Number(picoPerHour) / 1e12).toFixed(2)

/** Accounts at these vendors, under the vendors' own names. */
export const accountsAt = (names: ReadonlyArray<VendorName>, options: AccountOptions): Readonly<Record<string, Account>> => {
  mkdirSync(options.folder, { recursive: true, mode: 0o700 })
  return Object.fromEntries(names.map((name) => [name, accounts[name](options)]))
}

/** What MILLRACE_PROVIDERS wants to name, of accounts whose clouds run. */
export const providersOf = (opened: Readonly<Record<string, Account>>, sky: RunningSky) => ({
  providers: Object.entries(opened).map(([name, { entry }]) => ({ name, speaks: name, endpoint: sky[name]?.url, ...entry }))
})
