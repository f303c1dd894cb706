import { Schema } from "effect"

/**
 * The parts of Vast.ai's API that we use, written from the vendor's OpenAPI descriptions (vast-ai/vast-cli,
 * `openapi/yaml`, as of 2026: search_offers, create_instance, show_instances_v1, destroy_instance, show_charges,
 * show_ssh_keys) and its page "Rate limits and errors". Fields that we do not read are left out.
 */
const maybe = <S extends Schema.Schema<unknown>>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

/** One machine on the market, whole or a part of it. The id is good for as long as nobody rents it. */
export const Ask = Schema.Struct({
  id: Schema.Int,
  gpu_name: maybe(Schema.String),
  num_gpus: Schema.Int,
  /** Of one GPU, in MB. */
  gpu_ram: maybe(Schema.Number),
  cpu_cores: maybe(Schema.Number),
  cpu_cores_effective: maybe(Schema.Number),
  /** Of the whole host, in MB. */
  cpu_ram: maybe(Schema.Number),
  disk_space: maybe(Schema.Number),
  /** Dollars an hour: with the storage that was searched for, and of that storage alone. */
  dph_total: Schema.Number,
  storage_total_cost: maybe(Schema.Number),
  min_bid: maybe(Schema.Number),
  reliability2: maybe(Schema.Number),
  geolocation: maybe(Schema.String),
  vms_enabled: maybe(Schema.Boolean)
})
export type Ask = typeof Ask.Type

/** `POST /api/v0/bundles/`. */
export const Asks = Schema.Struct({ offers: Schema.Array(Ask) })

/** `PUT /api/v0/asks/{id}/`. */
export const Created = Schema.Struct({ success: Schema.Literal(true), new_contract: Schema.Int })

export const Instance = Schema.Struct({
  id: Schema.Int,
  label: maybe(Schema.String),
  /** What the container does. Null until there is one. */
  actual_status: maybe(Schema.String),
  /** What the contract says: `running`, `stopped` or `unloaded`. */
  cur_state: maybe(Schema.String),
  intended_status: maybe(Schema.String),
  gpu_name: maybe(Schema.String),
  num_gpus: maybe(Schema.Int),
  geolocation: maybe(Schema.String),
  is_bid: maybe(Schema.Boolean),
  dph_total: maybe(Schema.Number),
  storage_total_cost: maybe(Schema.Number),
  /** When the contract ends, in seconds since 1970. */
  end_date: maybe(Schema.Number)
})
export type Instance = typeof Instance.Type

/** `GET /api/v1/instances/`: at most 25 a page. */
export const Instances = Schema.Struct({ instances: Schema.Array(Instance), next_token: maybe(Schema.String) })

/** `DELETE /api/v0/instances/{id}/`. */
export const Destroyed = Schema.Struct({ success: Schema.Literal(true) })

/** `GET /api/v0/ssh/`. */
export const SshKeys = Schema.Array(Schema.Struct({ id: Schema.Int }))

/** `GET /api/v0/charges/`. Moments in seconds since 1970, amounts in dollars. */
export const Charges = Schema.Struct({
  results: Schema.Array(Schema.Struct({ start: Schema.Number, end: Schema.Number, source: maybe(Schema.String), amount: Schema.Number })),
  next_token: maybe(Schema.String)
})

/** Most errors' body; each field may be missing. */
export const Failed = Schema.Struct({ success: maybe(Schema.Boolean), error: maybe(Schema.String), msg: maybe(Schema.String) })

/** The code of an error, where it has one: some say it in their message alone. */
export const codeOf = ({ error, msg }: typeof Failed.Type): string | undefined =>
  msg?.includes("no_such_ask") === true ? "no_such_ask" : error ?? undefined

/** A number of GPUs of a kind, as one type of machine: "2xRTX_4090". */
export const machineTypeOf = ({ gpu_name, num_gpus }: { readonly gpu_name?: string | null; readonly num_gpus?: number | null }): string =>
  `${num_gpus ?? 0}x${(gpu_name ?? "none").trim().replaceAll(" ", "_")}`

/** GPU names in the words that drivers use too: "RTX 6000Ada" is an "RTX 6000 Ada", "Q RTX 8000" a "Quadro RTX 8000". */
export const modelOf = (name: string): string | undefined => {
  const model = name.trim().replace(/^Q (?=RTX)/u, "Quadro ").replace(/(\d)Ada$/u, "$1 Ada")
  return model === "" ? undefined : model
}

/**
 * Where a machine is. Its host writes it freely, mostly as "Texas, US"; jobs name regions as "us-texas", with the
 * country first.
 */
export const regionOf = (geolocation: string | null | undefined): string => {
  const parts = (geolocation ?? "").normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().split(",").map((part) => part.replace(/[^a-z0-9]+/gu, "-").replace(/^-|-$/gu, "")).filter((part) => part !== "")
  return parts.reverse().join("-").slice(0, 63).replace(/-$/u, "") || "somewhere"
}

/** Dollars an hour in pico-dollars a second, rounded up. */
export const picoPerSecondOfDollars = (perHour: number): bigint => BigInt(Math.ceil(Number(((perHour * 1e12) / 3600).toFixed(3))))

/** Pico-dollars a second in dollars an hour, rounded down to a millionth: a bid is never above what we would pay. */
export const dollarsOf = (picoPerSecond: bigint): number => Number((picoPerSecond * 3600n) / 1_000_000n) / 1e6

/** Under what a machine was asked for. An instance has one text of ours, so all of it lies in there. */
export interface Label {
  readonly token: string
  readonly cell: string
  readonly sinceMs: number
}

export const labelOf = ({ cell, sinceMs, token }: Label): string => `${token} cell=${encodeURIComponent(cell)} since=${sinceMs}`

/** What a label says. That of somebody else says at most a name. */
export const readLabel = (label: string | null | undefined): Partial<Label> => {
  if (label === undefined || label === null || label === "") return {}
  const [, token, cell, since] = /^(\S+) cell=(\S+) since=(\d{1,15})$/u.exec(label) ?? []
  return token === undefined || cell === undefined ? { token: label } : { token, cell: plainCell(cell), sinceMs: Number(since) }
}

const plainCell = (written: string): string => {
  try {
    return decodeURIComponent(written)
  } catch {
    return written
  }
}
