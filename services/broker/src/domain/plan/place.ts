/** Parts of the earth that a limit may name, and how regions of the clouds give themselves away. First match wins. */
const areas: ReadonlyArray<readonly [string, RegExp]> = [
  ["us", /^(us|usa)([-_].*|\d*|)$|(^|-)(usa)(-|$)|^us-|(east|west|central|north|south)us\d?$|^us(east|west|central)/u],
  ["ca", /^ca([-_]|$)|canada|^northamerica-northeast/u],
  ["sa", /brazil|^southamerica|^sa-|chile|mexico/u],
  ["uk", /^(gb|uk)([-_]|$)|^uk(south|west)|^europe-west2$|london/u],
  ["eu", /^eu([-_]|$)|europe|france|germany|sweden|poland|italy|spain|norway|switzerland|finland|^fin-|paris|warsaw|^(at|be|bg|ch|cz|de|dk|ee|es|fi|fr|gr|hr|hu|ie|is|it|lt|lv|nl|no|pl|pt|ro|se|si|sk)([-_]|$)/u],
  ["me", /^me([-_]|$)|israel|qatar|uae|saudi/u],
  ["af", /^af([-_]|$)|africa/u],
  ["oc", /australia|^au([-_]|$)|^nz([-_]|$)/u],
  ["as", /asia|^ap([-_]|$)|japan|korea|india|indonesia|malaysia|singapore|^(cn|hk|id|in|jp|kr|my|ph|sg|th|tw|vn)([-_]|$)/u]
]

/** The part of the earth that a region lies in. Undefined: its name does not tell. */
export const areaOf = (region: string): string | undefined => {
  const known = seen.get(region)
  if (known !== undefined) return known === "" ? undefined : known
  const text = region.toLowerCase()
  const area = areas.find(([, pattern]) => pattern.test(text))?.[0]
  if (seen.size < 10_000) seen.set(region, area ?? "")
  return area
}

/** Regions are few and asked about for every class: a memory of answers, which are always the same. */
const seen = new Map<string, string>()

/**
 * Whether a region lies within limits, each a region's name or an area (`eu`, `us`, `as`...). No limit means anywhere. A region that nobody named
 * ("*") lies within none: work that may not leave a place does not go where nobody knows where it is.
 */
export const within = (region: string, limits: ReadonlyArray<string>): boolean =>
  limits.length === 0 || limits.includes(region) || (region !== "*" && limits.some((limit) => limit.toLowerCase() === areaOf(region)))
