import type { Answer, Cloud, CloudRoom, Request } from "../cloud.ts"
import type { Site } from "../site.ts"
import { type Signed, signedByItsOwn } from "./certificate.ts"
import { read, wrongName } from "./forms.ts"
import { formOf, namespaces, nodePools, resources, withDefaults, wrongsOf } from "./kinds.ts"
import { listed, metadataOf, watched } from "./lists.ts"
import { type Metadata, Objects, type Resource, type Thing, timeOf } from "./objects.ts"
import { Pools } from "./pools.ts"
import { alreadyExists, conflict, failed, invalid, noSuchPath, notFound, unauthorised, type Wrong } from "./status.ts"

export interface CoreWeaveAccount {
  /** The bearer token that the cluster takes. */
  readonly token: string
  readonly region: string
  /** Those that somebody has made. */
  readonly namespaces: ReadonlyArray<string>
}

/**
 * A pretend cluster of CoreWeave's Kubernetes Service to run in the sky, with a certificate of its own authority. A
 * node costs money from when it is in the cluster until it has left, by the minute.
 */
export const coreWeaveCloud = (
  { bootMs = 0, endMs = 0, namespaces: made = ["millrace"], region = "US-EAST-04A", token }: Pick<CoreWeaveAccount, "token"> & Partial<CoreWeaveAccount> & { readonly bootMs?: number; readonly endMs?: number }
): Cloud<CoreWeaveApi> => {
  const tls = signedByItsOwn()
  return {
    billing: { stepMs: 60_000, minMs: 60_000, from: "running", until: "gone" },
    bootMs,
    endMs,
    tls,
    open: (site) => new CoreWeaveApi({ token, region, namespaces: made }, site, tls)
  }
}

/** What a path is about. */
interface Target {
  readonly resource: Resource
  readonly namespace: string | undefined
  readonly name: string | undefined
}

type Fields = Record<string, unknown>

const contentOf = ({ headers }: Request): string => (headers["content-type"] ?? "application/json").split(";")[0]!.trim()

/**
 * A Kubernetes API server in miniature: bearer tokens, discovery, NodePools, nodes, secrets, daemon sets and reviews
 * of one's own access; lists in pages, watches, versions and conflicts, and the form of every object as described.
 * Written from Kubernetes' API conventions 1.35 and CoreWeave's node pool pages, not from whoever calls it.
 */
export class CoreWeaveApi implements CloudRoom {
  readonly objects = new Objects()
  /** The certificate of the cluster's authority: what a client has to be given. */
  readonly ca: string
  /** Fields that the API knows nothing of and has dropped. A well-written client causes none. */
  readonly warnings: Array<string> = []
  readonly #account: CoreWeaveAccount
  readonly #site: Site
  readonly #pools: Pools

  constructor(account: CoreWeaveAccount, site: Site, { ca }: Pick<Signed, "ca">) {
    this.#account = account
    this.#site = site
    this.ca = ca
    this.#pools = new Pools(this.objects, site, account.region)
    for (const name of ["default", ...account.namespaces]) this.objects.add(namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name } }, 0)
  }

  settle(atMs: number): void {
    this.#pools.settle(atMs)
  }

  /** Pools without a machine, and what boots machines of which there are none. */
  get left(): ReadonlyArray<string> {
    const there = new Set(this.#site.books.running.map(({ name }) => name))
    return ["nodepools", "secrets", "daemonsets"].flatMap((plural) => this.named(plural).filter((name) => !there.has(name)).map((name) => `${plural}/${name}`))
  }

  /** The names of everything of one resource. */
  named(plural: string): ReadonlyArray<string> {
    return resources.filter((resource) => resource.plural === plural).flatMap((resource) => this.objects.list(resource).map(({ metadata }) => metadata.name))
  }

  /** A pool that somebody else has declared, without a request. */
  declare({ instanceType, labels, name, targetNodes = 1 }: { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly instanceType: string; readonly targetNodes?: number }, atMs: number): void {
    this.objects.add(nodePools, { apiVersion: "compute.coreweave.com/v1alpha1", kind: "NodePool", metadata: { name, labels }, spec: { instanceType, targetNodes, computeClass: "default" } }, atMs)
  }

  answer(request: Request): Answer {
    const { sky } = this.#site
    if (request.headers["authorization"] !== `Bearer ${this.#account.token}` || sky.now.unauthorised || sky.now.expired) return unauthorised
    if (sky.strikes("tooMany")) return failed(429, "TooManyRequests", "too many requests, please try again later", { details: { retryAfterSeconds: 1 }, headers: { "retry-after": "1" } })
    if (sky.strikes("failing")) return failed(503, "ServiceUnavailable", "the server is currently unable to handle the request")
    this.#pools.settle(request.atMs)
    const answered = this.#discovery(request) ?? this.#resource(request)
    this.#pools.settle(request.atMs)
    return answered
  }

  #discovery({ method, path }: Request): Answer | undefined {
    if (method !== "GET") return undefined
    const groups = [...new Set(resources.map(({ group, version }) => `${group}/${version}`))].filter((one) => !one.startsWith("/"))
    if (path === "/version") return { status: 200, body: { major: "1", minor: "35", gitVersion: "v1.35.0", platform: "linux/amd64" } }
    if (path === "/healthz" || path === "/readyz" || path === "/livez") return { status: 200, body: "ok" }
    if (path === "/api") return { status: 200, body: { kind: "APIVersions", versions: ["v1"] } }
    if (path === "/apis") {
      return { status: 200, body: { kind: "APIGroupList", apiVersion: "v1", groups: groups.map((groupVersion) => {
        const [name, version] = groupVersion.split("/")
        return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } }
      }) } }
    }
    const groupVersion = path === "/api/v1" ? "v1" : path.replace(/^\/apis\//u, "")
    const here = resources.filter(({ group, version }) => (group === "" ? version : `${group}/${version}`) === groupVersion)
    if (here.length === 0 || !(path === "/api/v1" || /^\/apis\/[^/]+\/[^/]+$/u.test(path))) return undefined
    return { status: 200, body: { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources: here.map(({ kind, namespaced, plural, verbs }) => ({ name: plural, singularName: kind.toLowerCase(), namespaced, kind, verbs })) } }
  }

  #resource(request: Request): Answer {
    const target = targetOf(request.path)
    if (target === undefined) return noSuchPath
    const { name, namespace, resource } = target
    const watching = ["true", "1"].includes(request.query.get("watch") ?? "")
    const verb = verbOf(request.method, name, watching)
    if (verb === undefined || !resource.verbs.includes(verb)) return failed(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    if (!this.#may(verb, resource)) {
      return failed(403, "Forbidden", `${resource.plural}${resource.group === "" ? "" : `.${resource.group}`}${name === undefined ? "" : ` "${name}"`} is forbidden: User "token" cannot ${verb} resource "${resource.plural}" in API group "${resource.group}"`)
    }
    switch (verb) {
      case "list":
        return listed(this.objects, target, request)
      case "watch":
        return watched(this.objects, target, request)
      case "get": {
        const found = this.#find(target)
        return found === undefined ? notFound(resource.plural, resource.group, name!) : { status: 200, body: wantsMetadata(request) ? metadataOf(found) : found }
      }
      case "create":
        return resource.kind === "SelfSubjectAccessReview" ? this.#review(request, resource) : this.#create(request, resource, namespace)
      case "delete":
        return this.#delete(request, target)
      default:
        return this.#write(request, target, verb)
    }
  }

  #find({ name, namespace, resource }: Target): Thing | undefined {
    return name === undefined ? undefined : this.objects.get(resource, namespace, name)
  }

  /** The weather forbids by verb and resource, such as `create nodepools`, or by resource alone. */
  #may(verb: string, { plural }: Pick<Resource, "plural">): boolean {
    return !this.#site.sky.now.forbidden.some((name) => name === plural || name === `${verb} ${plural}`)
  }

  #review(request: Request, resource: Resource): Answer {
    const given = this.#given(request, resource)
    if ("status" in given) return given.answer
    const { group = "", resource: plural = "", verb = "" } = ((given.thing["spec"] as Fields)["resourceAttributes"] ?? {}) as Record<string, string>
    const known = resources.some((one) => one.group === group && one.plural === plural)
    const allowed = known && this.#may(verb, { plural })
    return { status: 201, body: { ...given.thing, metadata: {}, status: { allowed, ...(allowed ? {} : { reason: known ? "no role binds it" : "no such resource" }) } } }
  }

  /** The object in a body, as far as it is of the described form. */
  #given({ body, query }: Request, resource: Resource): { readonly thing: Thing } | { readonly status: "wrong"; readonly answer: Answer } {
    const wrong = (answer: Answer) => ({ status: "wrong" as const, answer })
    const parsed = fieldsIn(body)
    if (parsed === undefined) return wrong(failed(400, "BadRequest", "the object provided is unrecognized: it is no JSON object"))
    const { apiVersion, kind } = parsed
    const groupVersion = resource.group === "" ? resource.version : `${resource.group}/${resource.version}`
    if (apiVersion !== groupVersion || kind !== resource.kind) return wrong(failed(400, "BadRequest", `the API version or kind in the data (${String(apiVersion)}, ${String(kind)}) does not match the expected (${groupVersion}, ${resource.kind})`))
    const { unknown, value, wrongs } = read(formOf(resource)!, parsed, "")
    const thing = { ...(value as Fields), metadata: (value as Fields)["metadata"] ?? {} } as unknown as Thing
    if (wrongs.length > 0) return wrong(invalid(resource.kind, String(thing.metadata.name ?? ""), wrongs))
    if (unknown.length > 0) {
      if (query.get("fieldValidation") === "Strict") return wrong(failed(400, "BadRequest", `strict decoding error: ${unknown.map((field) => `unknown field "${field}"`).join(", ")}`))
      this.warnings.push(...unknown.map((field) => `unknown field "${field}"`))
    }
    return { thing }
  }

  #create(request: Request, resource: Resource, namespace: string | undefined): Answer {
    const given = this.#given(request, resource)
    if ("status" in given) return given.answer
    if (namespace !== undefined && this.objects.get(namespaces, undefined, namespace) === undefined) return notFound("namespaces", "", namespace)
    const { name } = given.thing.metadata
    if (name === undefined) return invalid(resource.kind, "", [{ field: "metadata.name", reason: "FieldValueRequired", message: "Required value: name or generateName is required" }])
    if (given.thing.metadata.namespace !== undefined && given.thing.metadata.namespace !== namespace) return failed(400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")
    const thing = withDefaults(resource, { ...given.thing, metadata: { ...given.thing.metadata, ...(namespace === undefined ? {} : { namespace }) } })
    const named = wrongName(name)
    const wrongs: ReadonlyArray<Wrong> = [...(named === undefined ? [] : [{ field: "metadata.name", reason: "FieldValueInvalid" as const, message: named }]), ...wrongsOf(resource, thing)]
    if (wrongs.length > 0) return invalid(resource.kind, name, wrongs)
    if (this.objects.get(resource, namespace, name) !== undefined) return alreadyExists(resource.plural, resource.group, name)
    const { status: _status, ...rest } = thing
    const finalizers = resource === nodePools ? { finalizers: ["compute.coreweave.com/nodes"] } : {}
    const made = this.objects.add(resource, { ...rest, metadata: { ...thing.metadata, ...finalizers } } as Thing, request.atMs)
    const answer: Answer = { status: 201, body: made }
    return resource === nodePools && this.#site.sky.strikes("answersLost") ? { ...answer, cut: true } : answer
  }

  #write(request: Request, target: Target, verb: "patch" | "update"): Answer {
    const { name = "", resource } = target
    const before = this.#find(target)
    if (before === undefined) return notFound(resource.plural, resource.group, name)
    if (verb === "patch" && contentOf(request) !== "application/merge-patch+json") return failed(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/merge-patch+json")
    const sent = fieldsIn(request.body)
    if (sent === undefined) return failed(400, "BadRequest", "the body is no JSON object")
    const merged = verb === "patch" ? merge(before, sent) as Fields : sent
    const given = this.#given({ ...request, body: JSON.stringify(merged) }, resource)
    if ("status" in given) return given.answer
    const version = (sent["metadata"] as Fields | undefined)?.["resourceVersion"]
    if (version !== undefined && version !== before.metadata.resourceVersion) return conflict(resource.plural, resource.group, name, "the object has been modified; please apply your changes to the latest version and try again")
    // What the server alone writes stays as it is.
    const { creationTimestamp, deletionTimestamp, finalizers, uid } = before.metadata
    const kept = { name, uid, creationTimestamp, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }), ...(finalizers === undefined ? {} : { finalizers }), ...(target.namespace === undefined ? {} : { namespace: target.namespace }) }
    const after = withDefaults(resource, { ...given.thing, ...(before["status"] === undefined ? {} : { status: before["status"] }), metadata: { ...given.thing.metadata, ...kept } as Metadata })
    const wrongs = wrongsOf(resource, after, before)
    return wrongs.length > 0 ? invalid(resource.kind, name, wrongs) : { status: 200, body: this.objects.change(resource, after) }
  }

  #delete(request: Request, target: Target): Answer {
    const { name = "", resource } = target
    const found = this.#find(target)
    if (found === undefined) return notFound(resource.plural, resource.group, name)
    const { resourceVersion, uid } = (fieldsIn(request.body)?.["preconditions"] ?? {}) as { readonly uid?: string; readonly resourceVersion?: string }
    if (uid !== undefined && uid !== found.metadata.uid) return conflict(resource.plural, resource.group, name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${found.metadata.uid}`)
    if (resourceVersion !== undefined && resourceVersion !== found.metadata.resourceVersion) {
      return conflict(resource.plural, resource.group, name, `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${found.metadata.resourceVersion}`)
    }
    if (resource !== nodePools) {
      this.objects.remove(resource, found)
      return { status: 200, body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details: { name, kind: resource.plural, uid: found.metadata.uid } } }
    }
    const refused = this.#pools.refusesEnd(found, request.atMs)
    if (refused !== undefined) return failed(500, "InternalError", `Internal error occurred: ${refused}`)
    const marked = found.metadata.deletionTimestamp !== undefined ? found : this.objects.change(resource, { ...found, metadata: { ...found.metadata, deletionTimestamp: timeOf(request.atMs) } })
    return { status: 200, body: marked, ...(this.#site.sky.strikes("endAnswersLost") ? { cut: true } : {}) }
  }
}

const wantsMetadata = ({ headers }: Pick<Request, "headers">): boolean => /as=PartialObjectMetadata/u.test(headers["accept"] ?? "")

const verbOf = (method: string, name: string | undefined, watching: boolean): "list" | "watch" | "get" | "create" | "delete" | "patch" | "update" | undefined => {
  if (method === "GET") return watching ? "watch" : name === undefined ? "list" : "get"
  if (method === "POST") return name === undefined ? "create" : undefined
  if (name === undefined) return undefined
  return method === "DELETE" ? "delete" : method === "PATCH" ? "patch" : method === "PUT" ? "update" : undefined
}

/** `/api/v1/...` and `/apis/GROUP/VERSION/...`, with a namespace where the resource lies in one. */
const targetOf = (path: string): Target | undefined => {
  const [, root, ...rest] = path.split("/").map(decodeURIComponent)
  const [group, version, ...tail] = root === "api" ? ["", ...rest] : root === "apis" ? rest : []
  const inNamespace = tail[0] === "namespaces" && tail.length > 2
  const [plural, name, ...more] = inNamespace ? tail.slice(2) : tail
  const resource = resources.find((one) => one.group === group && one.version === version && one.plural === plural)
  if (resource === undefined || more.length > 0 || (inNamespace && !resource.namespaced)) return undefined
  // Without a namespace everything of the cluster can be listed, and nothing be named.
  if (resource.namespaced && !inNamespace && name !== undefined) return undefined
  return { resource, namespace: inNamespace ? tail[1] : undefined, name: name === "" ? undefined : name }
}

const fieldsIn = (body: string): Fields | undefined => {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Fields : undefined
  } catch {
    return undefined
  }
}

/** RFC 7396: null removes, objects are merged, everything else takes the place of what was there. */
const merge = (before: unknown, patch: unknown): unknown => {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch
  const base: Fields = typeof before === "object" && before !== null && !Array.isArray(before) ? { ...(before as Fields) } : {}
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete base[name]
    else base[name] = merge(base[name], value)
  }
  return base
}
