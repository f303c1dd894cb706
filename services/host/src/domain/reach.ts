/** What a program may ask for over its socket; everything else is refused before anybody hears of it. */
export type Reach = { readonly allowed: true; readonly bodyBytesMax: number } | { readonly allowed: false; readonly code: "not_reachable" | "path_malformed" }

const smallBytes = 1024 * 1024
const blobBytes = 2 ** 30

const id = "[a-z]{3}_[0-9A-HJKMNP-TV-Z]{26}"
const job = "[A-Za-z0-9_-]{1,64}"

const ways: ReadonlyArray<{ readonly method: string; readonly path: RegExp; readonly bodyBytesMax: number }> = [
  { method: "POST", path: /^\/v1\/jobs$/u, bodyBytesMax: smallBytes },
  { method: "GET", path: /^\/v1\/jobs$/u, bodyBytesMax: 0 },
  { method: "GET", path: new RegExp(`^/v1/jobs/${job}(/(story|events|tasks|logs|why|artefacts))?$`, "u"), bodyBytesMax: 0 },
  { method: "GET", path: new RegExp(`^/v1/jobs/${job}/(output|artefacts)/[^/?#].{0,1023}$`, "u"), bodyBytesMax: 0 },
  { method: "POST", path: new RegExp(`^/v1/jobs/${job}/cancel$`, "u"), bodyBytesMax: smallBytes },
  { method: "PUT", path: /^\/v1\/blobs$/u, bodyBytesMax: blobBytes },
  { method: "GET", path: /^\/v1\/blobs\/sha256:[0-9a-f]{64}$/u, bodyBytesMax: 0 },
  { method: "GET", path: new RegExp(`^/v1/grants(/${id})?$`, "u"), bodyBytesMax: 0 },
  { method: "POST", path: new RegExp(`^/v1/grants/${id}/(delegate|suspend|resume|revoke)$`, "u"), bodyBytesMax: smallBytes },
  { method: "POST", path: /^\/v1\/events$/u, bodyBytesMax: smallBytes }
]

/**
 * Whether a request may go on to the cell. The target is judged as it came and goes on as it came: one that
 * somebody behind us could read otherwise (another host, dots, doubled or encoded slashes where none
 * belong, control characters) is no path of ours.
 */
export const reach = (method: string, target: string): Reach => {
  const [, path = "", , query = ""] = /^(\/[^?#]*)(\?([^#]*))?$/u.exec(target) ?? []
  if (path === "" || target.length > 4096 || !/^[\x21-\x7e]+$/u.test(target) || /[\\"<>^`{|}]/u.test(target)) return { allowed: false, code: "path_malformed" }
  if (!decodes(path) || !decodes(query)) return { allowed: false, code: "path_malformed" }
  if (path.includes("//") || path.split("/").some((part) => part === "." || part === "..")) return { allowed: false, code: "path_malformed" }
  // Only what lies behind the name of an artefact may be encoded, and nothing in it may climb.
  if (decodeURIComponent(path).split("/").some((part) => part === ".." || part === ".") || /[\0-\x1f\x7f\\]/u.test(decodeURIComponent(path))) {
    return { allowed: false, code: "path_malformed" }
  }
  const way = ways.find((one) => one.method === method && one.path.test(path))
  return way === undefined ? { allowed: false, code: "not_reachable" } : { allowed: true, bodyBytesMax: way.bodyBytesMax }
}

const decodes = (text: string): boolean => {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
