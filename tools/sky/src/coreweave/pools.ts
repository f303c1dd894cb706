import type { Machine } from "../books.ts"
import type { Site } from "../site.ts"
import { daemonSets, nodePools, nodes, secrets } from "./kinds.ts"
import { type Objects, type Thing, timeOf } from "./objects.ts"
import { coreWeaveWares } from "./wares.ts"

export const poolLabel = "compute.coreweave.com/node-pool"

interface Spec {
  readonly computeClass?: string
  readonly instanceType: string
  readonly targetNodes?: number
  readonly nodeLabels?: Readonly<Record<string, string>>
  readonly nodeTaints?: ReadonlyArray<unknown>
}

interface Verdict {
  readonly type: "Validated" | "Quota" | "Capacity" | "AtTarget"
  readonly status: "True" | "False"
  readonly reason: string
  readonly message: string
}

/**
 * Brings what is declared about: pools get machines, as far as type, quota and capacity allow, and say in their
 * conditions what stands in the way; a pool that has lost a machine gets another; one that is deleted goes when its
 * machines have gone. A machine that is up is a node.
 */
export class Pools {
  readonly #objects: Objects
  readonly #site: Site
  readonly #region: string
  /** By the pool's uid. What came to nothing stays, so that its pool is known to wait. */
  readonly #members = new Map<string, Array<Machine>>()
  #count = 0

  constructor(objects: Objects, site: Site, region: string) {
    this.#objects = objects
    this.#site = site
    this.#region = region
  }

  settle(atMs: number): void {
    this.#site.settle(atMs)
    for (const pool of this.#objects.list(nodePools)) this.#settlePool(pool, atMs)
  }

  /** Why a pool cannot be deleted now. */
  refusesEnd(pool: Thing, atMs: number): string | undefined {
    for (const machine of this.#alive(pool)) {
      const refused = this.#site.end(machine, atMs)
      if (refused !== undefined) return refused === "minimum_term" ? "a node of the pool is younger than the minimum term" : "its nodes could not be released"
    }
    return undefined
  }

  #alive(pool: Thing): ReadonlyArray<Machine> {
    return (this.#members.get(pool.metadata.uid) ?? []).filter((machine) => !["terminating", "terminated"].includes(this.#site.said(machine)))
  }

  #settlePool(pool: Thing, atMs: number): void {
    const spec = pool["spec"] as Spec
    const target = pool.metadata.deletionTimestamp === undefined ? spec.targetNodes ?? 0 : 0
    const verdicts = this.#verdicts(pool, spec, target)
    const may = verdicts.every(({ status }) => status === "True")
    for (let missing = target - this.#alive(pool).length; may && missing > 0; missing -= 1) this.#make(pool, spec, atMs)
    this.#site.settle(atMs)
    const extra = this.#alive(pool).slice(target)
    for (const machine of extra) this.#site.end(machine, atMs)
    this.#showNodes(pool, spec, atMs)
    const left = (this.#members.get(pool.metadata.uid) ?? []).some((machine) => this.#site.said(machine) !== "terminated")
    if (pool.metadata.deletionTimestamp !== undefined && !left) this.#objects.remove(nodePools, pool)
    else this.#say(pool, target, verdicts, atMs)
  }

  #verdicts(pool: Thing, { computeClass, instanceType }: Spec, target: number): ReadonlyArray<Verdict> {
    const known = coreWeaveWares.some(({ name }) => name === instanceType)
    const market = computeClass?.toLowerCase() === "spot" ? "spot" : "on_demand"
    const wanted = { type: instanceType, region: this.#region, market }
    const has = this.#alive(pool).length
    const quota = this.#site.sky.hasQuota(wanted)
    const failed = (this.#members.get(pool.metadata.uid) ?? []).some(({ ended }) => ended === "no_capacity")
    const capacity = has >= target || (!failed && this.#site.hasCapacity(wanted))
    return [
      known ? { type: "Validated", status: "True", reason: "Valid", message: "nodePool configuration is valid" }
        : { type: "Validated", status: "False", reason: "Invalid", message: `instance type ${instanceType} does not exist in ${this.#region}` },
      quota || !known ? { type: "Quota", status: "True", reason: "Under", message: `nodePool is under quota for instance type ${instanceType}` }
        : { type: "Quota", status: "False", reason: "NotSet", message: `quota limit is 0 for instance type ${instanceType}` },
      capacity || !known ? { type: "Capacity", status: "True", reason: "Sufficient", message: "capacity is sufficient" }
        : { type: "Capacity", status: "False", reason: "QueuedAwaitingCapacity", message: `${target - has} nodes are queued and await capacity` }
    ]
  }

  #make(pool: Thing, { computeClass, instanceType }: Spec, atMs: number): void {
    const ware = coreWeaveWares.find(({ name }) => name === instanceType)
    if (ware === undefined) return
    const market = computeClass?.toLowerCase() === "spot" ? "spot" : "on_demand"
    const price = market === "spot" ? ware.spotPicoPerHour ?? ware.picoPerHour : ware.picoPerHour
    this.#count += 1
    const machine = this.#site.make({
      id: `g${(0x10_0000 + this.#count).toString(16)}`,
      name: pool.metadata.name,
      ware,
      region: this.#region,
      market,
      tags: pool.metadata.labels ?? {},
      userData: this.#userDataOf(pool.metadata.name),
      picoPerHour: this.#site.sky.priceOf(price, { type: instanceType, region: this.#region, market })
    }, atMs)
    this.#members.set(pool.metadata.uid, [...(this.#members.get(pool.metadata.uid) ?? []), machine])
  }

  /**
   * What the daemon sets that choose this pool's nodes mount as files there, in the form of user data: what cloud-init
   * would have written elsewhere. A daemon set that comes after the machine's start boots nothing here.
   */
  #userDataOf(pool: string): string {
    const files = this.#objects.list(daemonSets).flatMap((daemon) => {
      const { containers = [], nodeSelector = {}, volumes = [] } = (daemon["spec"] as { readonly template: { readonly spec: PodSpec } }).template.spec
      if (nodeSelector[poolLabel] !== pool) return []
      return containers.flatMap(({ volumeMounts = [] }) => volumeMounts.flatMap(({ mountPath, name }) => {
        const secretName = volumes.find((volume) => volume.name === name)?.secret?.secretName
        const held = secretName === undefined ? undefined : this.#objects.get(secrets, daemon.metadata.namespace, secretName)
        return Object.entries((held?.["data"] ?? {}) as Record<string, string>).map(([key, value]) => ({ path: `${mountPath}/${key}`, content: Buffer.from(value, "base64").toString("utf8") }))
      }))
    })
    return files.length === 0 ? "" : `#cloud-config\n${JSON.stringify({ write_files: files }, null, 2)}\n`
  }

  #showNodes(pool: Thing, { instanceType, nodeLabels = {}, nodeTaints = [] }: Spec, atMs: number): void {
    for (const machine of this.#members.get(pool.metadata.uid) ?? []) {
      const shown = this.#objects.get(nodes, undefined, machine.id)
      const says = this.#site.said(machine)
      if (says === "terminated" && shown !== undefined) this.#objects.remove(nodes, shown)
      if (says !== "active" || shown !== undefined || atMs < machine.visibleAtMs) continue
      this.#objects.add(nodes, {
        apiVersion: "v1",
        kind: "Node",
        metadata: {
          name: machine.id,
          labels: {
            "kubernetes.io/hostname": machine.id, "node.kubernetes.io/instance-type": instanceType, "topology.kubernetes.io/region": this.#region,
            "node.coreweave.cloud/state": "production", [poolLabel]: pool.metadata.name, [`${poolLabel}-uid`]: pool.metadata.uid, ...nodeLabels
          }
        },
        spec: { providerID: `coreweave://${machine.id}`, taints: nodeTaints },
        status: {
          capacity: { cpu: String(machine.ware.vcpus), memory: `${machine.ware.memoryGib}Gi`, ...(machine.ware.gpus === 0 ? {} : { "nvidia.com/gpu": String(machine.ware.gpus) }) },
          conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status", lastTransitionTime: timeOf(atMs), lastHeartbeatTime: timeOf(atMs) }]
        }
      }, Math.max(machine.bootsAtMs, machine.bornAtMs))
    }
  }

  #say(pool: Thing, target: number, verdicts: ReadonlyArray<Verdict>, atMs: number): void {
    const alive = this.#alive(pool)
    const current = alive.filter((machine) => this.#site.said(machine) === "active").length
    const before = (pool["status"] as { readonly conditions?: ReadonlyArray<Verdict & { readonly lastTransitionTime: string }> } | undefined)?.conditions ?? []
    const reached: Verdict = current === target
      ? { type: "AtTarget", status: "True", reason: "TargetMet", message: "the pool has as many nodes as it wants" }
      : { type: "AtTarget", status: "False", reason: current < target ? "UnderTarget" : "OverTarget", message: `${current} of ${target} nodes` }
    const conditions = [...verdicts, reached].map((verdict) => {
      const was = before.find(({ type }) => type === verdict.type)
      return { ...verdict, lastTransitionTime: was?.status === verdict.status ? was.lastTransitionTime : timeOf(atMs) }
    })
    const status = { currentNodes: current, inProgress: alive.length - current, queuedNodes: Math.max(0, target - alive.length), conditions }
    const now = this.#objects.get(nodePools, undefined, pool.metadata.name)
    if (now !== undefined) this.#objects.change(nodePools, { ...now, status })
  }
}

interface PodSpec {
  readonly containers?: ReadonlyArray<{ readonly volumeMounts?: ReadonlyArray<{ readonly name: string; readonly mountPath: string }> }>
  readonly volumes?: ReadonlyArray<{ readonly name: string; readonly secret?: { readonly secretName: string } }>
  readonly nodeSelector?: Readonly<Record<string, string>>
}
