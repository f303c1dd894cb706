import type { Column, LeaseRefused, ProviderName } from "@millrace/schemas"

type Refused = Pick<LeaseRefused, "reason" | "narrows">

/**
 * The names under which a refusal of a column is remembered, from the widest to the narrowest. A zone's name
 * holds one type there, and a market's one type in one zone: what one zone has not, the next may have.
 */
export const blockNames = (provider: ProviderName, { machineType, market, offer, region, zone = "-" }: Column): Readonly<Record<LeaseRefused["narrows"], string>> => {
  const type = `${provider}/${region}/${machineType}`
  return {
    provider,
    region: `${provider}/${region}`,
    type,
    zone: `${type}/${zone}`,
    market: `${type}/${zone}/${market}`,
    offer: offer === undefined ? `${type}/${zone}/${market}` : `${provider}#${offer}`
  }
}

export const blockNameOf = (provider: ProviderName, column: Column, { narrows }: Pick<Refused, "narrows">): string => blockNames(provider, column)[narrows]

const minute = 60_000
const hour = 60 * minute

/**
 * For how long a refusal holds at first, by what it means. The long ones are those of Azure's Karpenter provider
 * (`offerings/commonerrorhandlers.go`, 2026: a failed allocation 1 h, a spot type that is not sold 1 h, an
 * on-demand one 23 h, a part of a quota 10 min, all of it 1 h). Where stock may be back in minutes we begin lower
 * and double with each refusal in a row, up to those.
 */
const timesOf = ({ narrows, reason }: Refused, { market }: Column): { readonly firstMs: number; readonly mostMs: number } => {
  switch (reason) {
    case "out_of_capacity":
      return { firstMs: 2 * minute, mostMs: hour }
    case "quota":
      return { firstMs: 10 * minute, mostMs: hour }
    case "unauthorised":
      return { firstMs: 10 * minute, mostMs: hour }
    case "offer_gone":
      return narrows === "offer" || market === "spot" ? { firstMs: hour, mostMs: hour } : { firstMs: 10 * minute, mostMs: 23 * hour }
    case "invalid":
      return { firstMs: hour, mostMs: 23 * hour }
    case "price_moved":
      return { firstMs: minute / 2, mostMs: 10 * minute }
    case "rate_limited":
      return { firstMs: minute / 2, mostMs: 10 * minute }
  }
}

/** Until when it is useless to ask for the same again. What the provider itself has said holds at least. */
export const blockedUntilMs = (refused: Refused & { readonly untilMs?: number }, column: Column, inARow: number, atMs: number): number => {
  const { firstMs, mostMs } = timesOf(refused, column)
  return Math.max(refused.untilMs ?? 0, atMs + Math.min(mostMs, firstMs * 2 ** Math.min(20, inARow)))
}
