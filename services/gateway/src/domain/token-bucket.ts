/** How often somebody may ask: `perSecond` on average, and `burst` at once. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** How full a bucket was at a moment. */
export interface Bucket {
  readonly tokens: number
  readonly atMs: number
}

/** A bucket that nobody has taken from yet. */
export const full = ({ burst }: Rate, atMs: number): Bucket => ({ tokens: burst, atMs })

/** Takes one, or says how long until there is one, in ms. A clock that goes back fills nothing. */
export const take = (bucket: Bucket, { burst, perSecond }: Rate, nowMs: number): { readonly bucket: Bucket; readonly waitMs: number } => {
  const tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) * perSecond) / 1000)
  const atMs = Math.max(nowMs, bucket.atMs)
  return tokens >= 1
    ? { bucket: { tokens: tokens - 1, atMs }, waitMs: 0 }
    : { bucket: { tokens, atMs }, waitMs: Math.ceil(((1 - tokens) * 1000) / perSecond - 1e-6) }
}
