import type { GpuWish, Places, Where } from "@millrace/schemas"
import { Option } from "effect"
import { type Command, Flag } from "effect/cli"
import { read, several } from "./flags.ts"
import { memoryMib } from "./quantities.ts"

/** How many GPUs: whole ones, or a part of a single one. */
export const gpusOf = (text: string): { readonly gpus: number; readonly gpuMilli?: number } | undefined => {
  const wanted = /^[0-9]{1,4}(\.[0-9]{1,3})?$/u.test(text) ? Number(text) : Number.NaN
  if (Number.isInteger(wanted)) return { gpus: wanted }
  return wanted > 0 && wanted < 1 ? { gpus: 0, gpuMilli: Math.round(wanted * 1000) } : undefined
}

/** Kinds of GPU in their order: `H100, A100-80GB, any >= 40GB`. */
export const wishesOf = (text: string): ReadonlyArray<GpuWish> | undefined => {
  const wishes = text.split(",").map(wishOf)
  return wishes.every((wish) => wish !== undefined) ? wishes : undefined
}

const wishOf = (text: string): GpuWish | undefined => {
  const [, name = "", size] = /^\s*([A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}?)?\s*(?:>=\s*([0-9.]+\s*[A-Za-z]*))?\s*$/u.exec(text) ?? []
  const memoryMibMin = size === undefined ? undefined : memoryMib(size.replace(/gb$/iu, "GiB").replace(/mb$/iu, "MiB"))
  if ((name === "" && size === undefined) || (size !== undefined && memoryMibMin === undefined)) return undefined
  return { ...(name === "" || name.toLowerCase() === "any" ? {} : { model: name }), ...(memoryMibMin === undefined ? {} : { memoryMibMin }) }
}

/** What describes where a job may run, wherever one is asked for. */
export const placingFlags = {
  gpus: read("gpus", gpusOf, "a number of GPUs such as 2, or a part of one such as 0.25").pipe(
    Flag.withMetavar("number"),
    Flag.withDescription("whole GPUs on one machine, or a part of one such as 0.25 (0)"),
    Flag.withDefault({ gpus: 0 } as { readonly gpus: number; readonly gpuMilli?: number })
  ),
  gpu: read("gpu", wishesOf, "a list of GPUs such as 'H100, A100-80GB, any >= 40GB'").pipe(
    Flag.withMetavar("kinds"),
    Flag.withDescription("kinds of GPU that would do, the most wished for first, such as 'H100, A100-80GB, any >= 40GB' (any)"),
    Flag.optional
  ),
  region: several("region", "a region where it may run; without one anywhere", "name"),
  provider: several("provider", "a provider on whose machines it may run", "name"),
  residency: several("residency", "under whose law its data may lie, such as eu", "name"),
  isolation: several("isolation", "a rung of isolation that would do, as hosts name theirs: gvisor-userns, gvisor", "name"),
  rather: several("rather", "a wish among places that have room: region=NAME, provider=NAME, residency=NAME or isolation=NAME", "wish"),
  spot: Flag.Literals("spot", ["never", "tolerated", "rather"]).pipe(
    Flag.withDescription("whether it may run on machines that their provider can take back (never)"),
    Flag.optional
  )
}
export type PlacingGiven = Command.Command.Config.Infer<typeof placingFlags>

/** The part of a request that these flags write; or the wish that cannot be read. */
export const placingOf = ({ gpu, isolation, provider, rather, region, residency, spot }: PlacingGiven): { readonly gpu?: ReadonlyArray<GpuWish>; readonly where?: Where } | { readonly unreadable: string } => {
  const wished = { region: [] as Array<string>, provider: [] as Array<string>, residency: [] as Array<string>, isolation: [] as Array<string> }
  for (const text of rather) {
    const [, what, name] = /^(region|provider|residency|isolation)=(.+)$/u.exec(text) ?? []
    if (what === undefined || name === undefined) return { unreadable: text }
    wished[what as keyof typeof wished].push(name)
  }
  const only = placesOf({ regions: region, providers: provider, residency, isolation })
  const preferred = placesOf({ regions: wished.region, providers: wished.provider, residency: wished.residency, isolation: wished.isolation })
  const where: Where = {
    ...(only === undefined ? {} : { only }),
    ...(preferred === undefined ? {} : { rather: preferred }),
    ...(Option.isSome(spot) ? { spot: spot.value } : {})
  }
  return { ...(Option.isSome(gpu) ? { gpu: gpu.value } : {}), ...(Object.keys(where).length === 0 ? {} : { where }) }
}

const placesOf = (lists: Readonly<Record<"regions" | "providers" | "residency" | "isolation", ReadonlyArray<string>>>): Places | undefined => {
  const named = Object.entries(lists).filter(([, names]) => names.length > 0)
  return named.length === 0 ? undefined : Object.fromEntries(named)
}
