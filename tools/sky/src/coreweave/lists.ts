import type { Answer, Request } from "../cloud.ts"
import type { Happened, Objects, Resource, Thing } from "./objects.ts"
import { fieldSelector, labelSelector } from "./selectors.ts"
import { failed } from "./status.ts"

interface Among {
  readonly resource: Resource
  readonly namespace: string | undefined
  readonly name: string | undefined
}

/** A continuation is good for so long. */
const continuedMsMax = 300_000

export const metadataOf = ({ metadata }: Thing) => ({ apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadata", metadata })

const alone = ({ headers }: Request): boolean => /as=PartialObjectMetadata/u.test(headers["accept"] ?? "")

/** What a query asks for, as a test of one thing; or what is wrong with the query. */
const chosenBy = ({ query }: Request, name: string | undefined): ((thing: Thing) => boolean) | Answer => {
  const labels = labelSelector(query.get("labelSelector") ?? "")
  const fields = fieldSelector(query.get("fieldSelector") ?? "")
  if (labels === undefined) return failed(400, "BadRequest", `unable to parse requirement: ${query.get("labelSelector")}`)
  if (fields === undefined) return failed(400, "BadRequest", `field label not supported: ${query.get("fieldSelector")}`)
  return (thing) => labels(thing.metadata.labels ?? {}) && fields(thing) && (name === undefined || thing.metadata.name === name)
}

interface Continuation {
  readonly version: number
  readonly after: string
  readonly atMs: number
}

const readContinuation = (token: string): Continuation | undefined => {
  try {
    const { after, atMs, version } = JSON.parse(Buffer.from(token, "base64url").toString("utf8")) as Continuation
    return typeof after === "string" && typeof atMs === "number" && typeof version === "number" ? { after, atMs, version } : undefined
  } catch {
    return undefined
  }
}

const pathOf = ({ metadata: { name, namespace = "" } }: Thing) => `${namespace}/${name}`

/** A list, or a page of it: `limit`, and `continue` for what follows a page. */
export const listed = (objects: Objects, { name, namespace, resource }: Among, request: Request): Answer => {
  const chosen = chosenBy(request, name)
  if (typeof chosen !== "function") return chosen
  const limit = Number(request.query.get("limit") ?? "0")
  if (!Number.isSafeInteger(limit) || limit < 0) return failed(400, "BadRequest", "limit must be a number that is not negative")
  const token = request.query.get("continue") ?? ""
  const from = token === "" ? undefined : readContinuation(token)
  if (token !== "" && from === undefined) return failed(400, "BadRequest", "continue key is not valid")
  if (from !== undefined && request.atMs - from.atMs > continuedMsMax) return failed(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")
  const all = objects.list(resource, namespace).filter(chosen).filter((thing) => from === undefined || pathOf(thing) > from.after)
  const page = limit === 0 ? all : all.slice(0, limit)
  const last = page.at(-1)
  const version = from?.version ?? objects.version
  const more = last !== undefined && page.length < all.length
    ? { continue: Buffer.from(JSON.stringify({ version, after: pathOf(last), atMs: from?.atMs ?? request.atMs } satisfies Continuation)).toString("base64url"), remainingItemCount: all.length - page.length }
    : {}
  const metadata = { resourceVersion: String(version), ...more }
  return alone(request)
    ? { status: 200, body: { kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata, items: page.map(metadataOf) } }
    : { status: 200, body: { kind: `${resource.kind}List`, apiVersion: resource.group === "" ? resource.version : `${resource.group}/${resource.version}`, metadata, items: page } }
}

/** What happens from a version on, one line each; without a version, first everything that is there. Ends after `timeoutSeconds`. */
export const watched = (objects: Objects, { name, namespace, resource }: Among, request: Request): Answer => {
  const chosen = chosenBy(request, name)
  if (typeof chosen !== "function") return chosen
  const since = Number(request.query.get("resourceVersion") ?? "0")
  const seconds = Number(request.query.get("timeoutSeconds") ?? "1800")
  const tooOld = since > 0 && since < objects.oldestVersion
  return {
    status: 200,
    body: undefined,
    stream: (out) => {
      const line = (type: string, object: unknown): void => out.write(`${JSON.stringify({ type, object })}\n`)
      const tell = ({ resource: of, thing, type }: Happened): void => {
        if (of === resource && (namespace === undefined || thing.metadata.namespace === namespace) && chosen(thing)) line(type, thing)
      }
      if (tooOld) {
        line("ERROR", failed(410, "Expired", `too old resource version: ${since} (${objects.oldestVersion})`).body)
        out.end()
        return () => undefined
      }
      if (since === 0) for (const thing of objects.list(resource, namespace).filter(chosen)) line("ADDED", thing)
      else for (const happened of objects.after(since)) tell(happened)
      const stop = objects.watch(tell)
      const timer = setTimeout(() => {
        stop()
        if (request.query.get("allowWatchBookmarks") === "true") line("BOOKMARK", { kind: resource.kind, metadata: { resourceVersion: String(objects.version) } })
        out.end()
      }, Math.min(Math.max(1, seconds), 3_600) * 1_000)
      return () => {
        stop()
        clearTimeout(timer)
      }
    }
  }
}
