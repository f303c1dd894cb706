/**
 * Known shapes of credentials. Each is a form that its issuer documents, narrow enough that ordinary words,
 * digests and our own ids are none of them.
 */
const SHAPES: ReadonlyArray<{ readonly kind: string; readonly form: RegExp }> = [
  { kind: "private key", form: /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?:[\s\S]*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|[\s\S]*)/gu },
  { kind: "Millrace token", form: /\bmill_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/gu },
  { kind: "webhook secret", form: /\bwhsec_[A-Za-z0-9+/]{24,}={0,2}/gu },
  { kind: "AWS access key", form: /\b(?:AKIA|ASIA)[A-Z2-7]{16}\b/gu },
  { kind: "GitHub token", form: /\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{36,255})/gu },
  { kind: "GitLab token", form: /\bglpat-[A-Za-z0-9_-]{20,}/gu },
  { kind: "Anthropic key", form: /\bsk-ant-[A-Za-z0-9_-]{20,}/gu },
  { kind: "OpenAI key", form: /\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}/gu },
  { kind: "Slack token", form: /\bxox[abeoprs]-[A-Za-z0-9-]{10,}/gu },
  { kind: "Google key", form: /\bAIza[A-Za-z0-9_-]{35}/gu },
  { kind: "Stripe key", form: /\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}/gu },
  { kind: "Hugging Face token", form: /\bhf_[A-Za-z0-9]{30,}/gu },
  { kind: "npm token", form: /\bnpm_[A-Za-z0-9]{36}\b/gu },
  { kind: "NATS seed", form: /\bS[ACNOUX][A-Z2-7]{56}\b/gu },
  { kind: "JSON web token", form: /\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*/gu },
  { kind: "bearer token", form: /(?<=\bBearer\s+)[A-Za-z0-9._~+/-]{20,}=*/giu },
  { kind: "password in an address", form: /(?<=\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]{0,256}:)[^\s:@/]{1,256}(?=@)/giu }
]

/**
 * `password=...`, `"api_key": "..."`: the value is judged by how random it looks. It ends at its quote, or
 * without quotes where a word, a list or a query would; quotes may be escaped. `<...>` stands for a value and is none.
 */
const NAMED =
  /(?<name>pass(?:word|wd|phrase)|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key)\\?["']?\s{0,4}[=:]\s{0,4}\\?(?:"(?<double>[^"<][^"\n]{7,511})"|'(?<single>[^'<][^'\n]{7,511})'|(?<bare>[^\s"',;&<][^\s"',;&]{7,511}))/giu

/** Texts longer than this, in characters, are judged by their beginning. */
const JUDGED_MAX = 1_048_576

/**
 * What kind of credential a text holds, or nothing. The answer is a name, never the text. A text that looks
 * like none may still be one: this refuses accidents, not ill will.
 */
export const looksLikeCredential = (text: string): string | undefined => findings(text.slice(0, JUDGED_MAX))[0]?.kind

/** The text with everything that looks like a credential replaced by what it looks like. */
export const withoutCredentials = (text: string): string => {
  let masked = ""
  let at = 0
  for (const { from, kind, to } of findings(text)) {
    if (from < at) continue
    masked += `${text.slice(at, from)}<${kind} masked>`
    at = to
  }
  return masked + text.slice(at)
}

interface Finding {
  readonly kind: string
  readonly from: number
  readonly to: number
}

const findings = (text: string): ReadonlyArray<Finding> => {
  if (text.length < 8) return []
  const shaped = SHAPES.flatMap(({ form, kind }) =>
    [...text.matchAll(form)].map((match) => ({ kind, from: match.index, to: match.index + match[0].length })))
  const named = [...text.matchAll(NAMED)].flatMap((match) => {
    const { bare, double, name = "", single } = match.groups ?? {}
    const value = double ?? single ?? bare ?? ""
    const to = match.index + match[0].length - (bare === undefined ? 1 : 0)
    return isRandom(name, value) ? [{ kind: kindOf(name), from: to - value.length, to }] : []
  })
  return [...shaped, ...named].sort((a, b) => a.from - b.from)
}

const kindOf = (name: string): string => (/^p(?:ass|wd)/iu.test(name) ? "password" : "secret")

/** A password may be words; a token or key is long and of letters and digits. `$NAME` only points at one. */
const isRandom = (name: string, value: string): boolean =>
  /^\$\{?[A-Za-z_]\w*\}?$/u.test(value)
    ? false
    : kindOf(name) === "password"
    ? entropyBits(value) >= 2.5
    : value.length >= 16 && /[0-9]/u.test(value) && /[a-z]/iu.test(value) && entropyBits(value) >= 3

/** Shannon's entropy in bits per character: https://doi.org/10.1002/j.1538-7305.1948.tb01338.x */
const entropyBits = (text: string): number => {
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  let bits = 0
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length)
  return bits
}
