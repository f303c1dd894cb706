import { gunzipSync } from "node:zlib"

/** A request for an instance, as the description of `create instance` allows it. */
export interface InstanceWish {
  readonly image: string
  readonly disk: number
  readonly label: string
  readonly onstart: string
  readonly price: number | undefined
  readonly vm: boolean
  readonly cancelUnavail: boolean
  readonly env: Readonly<Record<string, string>>
}

const isText = (max: number) => (value: unknown): boolean => typeof value === "string" && value.length <= max
const isSwitch = (value: unknown): boolean => typeof value === "boolean"
const isOneOf = (...names: ReadonlyArray<string>) => (value: unknown): boolean => names.includes(value as string)
const isNumber = (min: number, max = Number.POSITIVE_INFINITY) => (value: unknown): boolean => typeof value === "number" && value >= min && value <= max
const isEnv = (value: unknown): boolean => typeof value === "object" && value !== null && Object.values(value).every(isText(256)) && JSON.stringify(value).length <= 32_768

/** Each field that we know of, with its bounds: those of the description, and of its `x-input-validation`. */
const fields: Readonly<Record<string, (value: unknown) => boolean>> = {
  client_id: isText(256),
  image: isText(1_024),
  disk: isNumber(8),
  label: isText(256),
  onstart: isText(4_048),
  price: (value) => typeof value === "number",
  runtype: isOneOf("ssh", "jupyter", "args", "ssh_proxy", "ssh_direct", "jupyter_proxy", "jupyter_direct"),
  target_state: isOneOf("running", "stopped"),
  cancel_unavail: isSwitch,
  vm: isSwitch,
  env: isEnv,
  args: (value) => Array.isArray(value) && value.every(isText(4_096)),
  args_str: isText(4_096),
  image_login: isText(1_024),
  template_id: (value) => Number.isInteger(value),
  template_hash_id: isText(256),
  force: isSwitch,
  user: isText(256)
}

/** What is asked for, or the error that the vendor answers with. */
export const wishIn = (body: Readonly<Record<string, unknown>>): InstanceWish | { readonly error: string; readonly msg: string } => {
  for (const [name, value] of Object.entries(body)) {
    if (fields[name]?.(value) !== true) return { error: "invalid_args", msg: `error 400/3467: Invalid args: '${name}'` }
  }
  if (body["image"] === undefined && body["template_id"] === undefined && body["template_hash_id"] === undefined) return { error: "invalid_args", msg: "error 400/3467: Invalid args: 'image' is required" }
  const price = body["price"] as number | undefined
  if (price !== undefined && !isNumber(0.001, 128)(price)) return { error: "invalid_price", msg: "error 400/3471: Please set a bid price between 0.001 and 128." }
  return {
    image: String(body["image"] ?? ""),
    disk: Number(body["disk"] ?? 10),
    label: String(body["label"] ?? ""),
    onstart: String(body["onstart"] ?? ""),
    price,
    vm: body["vm"] === true,
    // "Defaults to false for interruptibles, true for on-demand with target_state='running'."
    cancelUnavail: body["cancel_unavail"] === undefined ? price === undefined && body["target_state"] !== "stopped" : body["cancel_unavail"] === true,
    env: (body["env"] ?? {}) as Record<string, string>
  }
}

/** What a start script unpacks, where it carries something packed: what the machine then applies. */
export const carriedBy = (onstart: string): string => {
  const [packed] = /[A-Za-z0-9+/]{40,}={0,2}/u.exec(onstart) ?? []
  try {
    return packed === undefined ? onstart : gunzipSync(Buffer.from(packed, "base64")).toString("utf8")
  } catch {
    return onstart
  }
}
