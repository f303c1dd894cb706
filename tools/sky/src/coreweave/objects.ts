/** A Kubernetes object, as far as every kind is alike. */
export interface Thing {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: Metadata
  readonly [field: string]: unknown
}

export interface Metadata {
  readonly name: string
  readonly namespace?: string
  readonly uid: string
  readonly resourceVersion: string
  readonly generation?: number
  readonly creationTimestamp: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: ReadonlyArray<string>
}

/** What the API calls one sort of things. */
export interface Resource {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
  readonly verbs: ReadonlyArray<string>
}

/** Something happened to a thing. */
export interface Happened {
  readonly at: number
  readonly type: "ADDED" | "MODIFIED" | "DELETED"
  readonly resource: Resource
  readonly thing: Thing
}

/** Happenings that a watcher may still ask for; who comes with an older version begins anew. */
const rememberedMax = 2_000

/** Times as the API says them: whole seconds. */
export const timeOf = (atMs: number): string => `${new Date(atMs).toISOString().slice(0, 19)}Z`

const keyOf = ({ group, plural }: Resource, namespace: string | undefined, name: string) => `${group}/${plural}/${namespace ?? ""}/${name}`

/** What a cluster holds, every change with a version of its own. */
export class Objects {
  readonly #things = new Map<string, { readonly resource: Resource; readonly thing: Thing }>()
  readonly #happened: Array<Happened> = []
  readonly #watching = new Set<(happened: Happened) => void>()
  #version = 1_000
  #uids = 0

  get version(): number {
    return this.#version
  }

  /** The oldest version from which a watch can go on. */
  get oldestVersion(): number {
    return (this.#happened[0]?.at ?? this.#version + 1) - 1
  }

  get(resource: Resource, namespace: string | undefined, name: string): Thing | undefined {
    return this.#things.get(keyOf(resource, namespace, name))?.thing
  }

  /** In the order of their keys, as the API lists them. */
  list(resource: Resource, namespace?: string): ReadonlyArray<Thing> {
    return [...this.#things.values()]
      .filter((one) => one.resource === resource && (namespace === undefined || one.thing.metadata.namespace === namespace))
      .map(({ thing }) => thing)
      .sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1))
  }

  add(resource: Resource, thing: Omit<Thing, "metadata"> & { readonly metadata: Partial<Metadata> & { readonly name: string } }, atMs: number): Thing {
    this.#uids += 1
    return this.#put("ADDED", resource, {
      ...thing,
      metadata: { ...thing.metadata, uid: `00000000-0000-4000-8000-${this.#uids.toString(16).padStart(12, "0")}`, resourceVersion: "", generation: 1, creationTimestamp: timeOf(atMs) }
    } as Thing)
  }

  change(resource: Resource, thing: Thing): Thing {
    const before = this.get(resource, thing.metadata.namespace, thing.metadata.name)
    const sameSpec = JSON.stringify(before?.["spec"]) === JSON.stringify(thing["spec"])
    const generation = (before?.metadata.generation ?? 0) + (sameSpec ? 0 : 1)
    if (before !== undefined && sameBut(before, thing)) return before
    return this.#put("MODIFIED", resource, { ...thing, metadata: { ...thing.metadata, generation } })
  }

  remove(resource: Resource, { metadata: { name, namespace } }: Thing): void {
    const key = keyOf(resource, namespace, name)
    const held = this.#things.get(key)
    if (held === undefined) return
    this.#things.delete(key)
    this.#tell("DELETED", resource, held.thing)
  }

  after(version: number): ReadonlyArray<Happened> {
    return this.#happened.filter(({ at }) => at > version)
  }

  watch(seen: (happened: Happened) => void): () => void {
    this.#watching.add(seen)
    return () => void this.#watching.delete(seen)
  }

  #put(type: "ADDED" | "MODIFIED", resource: Resource, thing: Thing): Thing {
    const told = this.#tell(type, resource, thing)
    this.#things.set(keyOf(resource, thing.metadata.namespace, thing.metadata.name), { resource, thing: told })
    return told
  }

  #tell(type: Happened["type"], resource: Resource, thing: Thing): Thing {
    this.#version += 1
    const told: Thing = { ...thing, metadata: { ...thing.metadata, resourceVersion: String(this.#version) } }
    const happened: Happened = { at: this.#version, type, resource, thing: told }
    this.#happened.push(happened)
    if (this.#happened.length > rememberedMax) this.#happened.splice(0, this.#happened.length - rememberedMax)
    for (const seen of this.#watching) seen(happened)
    return told
  }
}

const pathOf = ({ metadata: { name, namespace = "" } }: Thing) => `${namespace}/${name}`

const sameBut = (before: Thing, after: Thing): boolean => {
  const bare = (thing: Thing) => JSON.stringify({ ...thing, metadata: { ...thing.metadata, resourceVersion: "", generation: 0 } })
  return bare(before) === bare(after)
}
