/** How people write sizes and times on a command line. Undefined: it is neither. */

const memoryUnits: Readonly<Record<string, number>> = { "": 1, m: 1, mib: 1, g: 1024, gib: 1024, t: 1024 * 1024, tib: 1024 * 1024 }
const timeUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `256`, `256MiB`, `1.5GiB` in whole MiB. */
export const memoryMib = (text: string): number | undefined => whole(text, /^(\d+(?:\.\d+)?)\s*([a-z]*)$/iu, memoryUnits)

/** `500ms`, `90s`, `10m`, `1.5h`, `2d` in whole ms. */
export const millis = (text: string): number | undefined => whole(text, /^(\d+(?:\.\d+)?)\s*([a-z]+)$/iu, timeUnits)

const whole = (text: string, form: RegExp, units: Readonly<Record<string, number>>): number | undefined => {
  const [, number, unit] = form.exec(text.trim()) ?? []
  const factor = unit === undefined ? undefined : units[unit.toLowerCase()]
  const value = number === undefined || factor === undefined ? Number.NaN : Math.round(Number(number) * factor)
  return Number.isSafeInteger(value) ? value : undefined
}
