import { imageOf, processImage } from "./images.ts"
import { keyFiles, type KeyFile, type Part, type PartName, parts, type StateFolder } from "./parts.ts"
import type { Versions } from "./versions.ts"

/** Everything of a cell lies in one namespace. */
export const namespace = "millrace"

const startedSecondsMax = 300
const account = { runAsUser: processImage.uid, runAsGroup: processImage.gid }

/** A cell's objects, in the order in which they are wanted. Secrets are not among them: kustomize makes those from the prepared folder. */
export const kubernetesObjects = (versions: Versions): ReadonlyArray<KubernetesObject> => [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels: { "pod-security.kubernetes.io/enforce": "restricted" } } },
  { apiVersion: "v1", kind: "ServiceAccount", metadata: named("millrace"), automountServiceAccountToken: false },
  ...claimed.map(claimObject),
  closed,
  ...parts.flatMap((part) => [...(part.port === undefined ? [] : [serviceOf(part), openingOf(part)]), workloadOf(part, versions)])
]

/** What kustomize makes of a prepared folder: a secret for each file that some part reads, renamed when it changes. */
export const kustomization = {
  apiVersion: "kustomize.config.k8s.io/v1beta1",
  kind: "Kustomization",
  namespace,
  resources: ["kubernetes.yaml"],
  secretGenerator: keyFiles.map((file) => ({ name: file.name, files: [`${keyOf(file)}=${file.from}`] }))
}

/** As much of an object as every one has. */
export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> }
  readonly [field: string]: unknown
}

function keyOf(file: KeyFile): string {
  return file.from.slice(file.from.lastIndexOf("/") + 1)
}

function named(name: string) {
  return { name, labels: labelsOf(name) }
}

function labelsOf(name: string): Readonly<Record<string, string>> {
  return { "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "millrace" }
}

const chosen = (name: PartName) => ({ matchLabels: labelsOf(name) })

const workloadOf = (part: Part, versions: Versions): KubernetesObject => {
  const template = { metadata: { labels: labelsOf(part.name) }, spec: podOf(part, versions) }
  if (part.once === true) {
    // Gone an hour after its end, so that a newer one can be applied under its name.
    return { apiVersion: "batch/v1", kind: "Job", metadata: named(part.name), spec: { backoffLimit: 20, ttlSecondsAfterFinished: 3_600, template } }
  }
  // One of each: two schedulers are safe but displace each other, and the others hold sockets or folders alone.
  const whole = { replicas: 1, selector: chosen(part.name), template }
  const owned = ownedBy(part)
  return owned.length === 0 || part.port === undefined
    ? { apiVersion: "apps/v1", kind: "Deployment", metadata: named(part.name), spec: { ...whole, strategy: { type: "Recreate" }, revisionHistoryLimit: 3 } }
    : {
      apiVersion: "apps/v1",
      kind: "StatefulSet",
      metadata: named(part.name),
      spec: { ...whole, serviceName: part.name, volumeClaimTemplates: owned.map((folder) => ({ metadata: { name: volumeName(folder) }, spec: claimOf(folder) })) }
    }
}

/** The folders that a stateful set claims for its part. */
const ownedBy = (part: Part) => part.port === undefined ? [] : part.state.filter(({ keep }) => keep.kind === "own")

const podOf = (part: Part, versions: Versions) => ({
  serviceAccountName: "millrace",
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  terminationGracePeriodSeconds: part.stopGraceS,
  ...(part.once === true ? { restartPolicy: "OnFailure" } : {}),
  // A host's programs leave children behind: the pod's first process buries them.
  ...(part.name === "host" ? { shareProcessNamespace: true } : {}),
  securityContext: {
    ...account,
    runAsNonRoot: true,
    fsGroup: processImage.gid,
    // Changed once: the folders below keep the modes that their owners gave them.
    fsGroupChangePolicy: "OnRootMismatch",
    seccompProfile: { type: "RuntimeDefault" }
  },
  containers: [{
    name: part.name,
    image: imageOf(part, versions),
    imagePullPolicy: "IfNotPresent",
    args: part.command,
    env: Object.entries(part.settings).map(([name, value]) => ({ name, value })),
    ...(portsOf(part).length === 0 ? {} : { ports: portsOf(part) }),
    ...probesOf(part),
    resources: {
      requests: { cpu: `${part.resources.cpuMilli}m`, memory: `${part.resources.memoryMib}Mi` },
      limits: { memory: `${part.resources.memoryMibMax}Mi` }
    },
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
    volumeMounts: [
      ...part.reads.map((file) => ({ name: file.name, mountPath: file.at, subPath: keyOf(file), readOnly: true })),
      ...part.state.map((folder) => ({ name: volumeName(folder), mountPath: folder.at, ...(folder.access === "read" ? { readOnly: true } : {}) })),
      ...part.scratch.map((path, at) => ({ name: `scratch-${at}`, mountPath: path }))
    ]
  }],
  volumes: [
    ...part.reads.map((file) => ({ name: file.name, secret: { secretName: file.name, defaultMode: 0o440 } })),
    ...part.state.filter((folder) => !ownedBy(part).includes(folder)).map((folder) => ({
      name: volumeName(folder),
      ...(folder.keep.kind === "cache" ? { emptyDir: { sizeLimit: folder.keep.size } } : { persistentVolumeClaim: { claimName: volumeName(folder) } })
    })),
    ...part.scratch.map((_, at) => ({ name: `scratch-${at}`, emptyDir: { medium: "Memory", sizeLimit: "64Mi" } }))
  ]
})

/** `state/checkpoints/scheduler` is `checkpoints-scheduler`. */
function volumeName({ from }: StateFolder): string {
  return from.split("/").slice(1).join("-")
}

const portsOf = ({ health, port }: Part) => [
  ...(port === undefined ? [] : [{ name: "asked", containerPort: port }]),
  ...(health !== undefined && "port" in health ? [{ name: "health", containerPort: health.port }] : [])
]

const probesOf = ({ health }: Part) => {
  if (health === undefined) return {}
  const times = { periodSeconds: 5, timeoutSeconds: 4 }
  if ("command" in health) {
    const ask = { exec: { command: health.command } }
    return { startupProbe: { ...ask, ...times, failureThreshold: startedSecondsMax / times.periodSeconds }, readinessProbe: { ...ask, ...times }, livenessProbe: { ...ask, ...times, failureThreshold: 12 } }
  }
  const ask = (path: string) => ({ httpGet: { path, port: "health" } })
  // A long fold at its start leaves it alive and not ready: only one that does not answer for a minute is started anew.
  return { readinessProbe: { ...ask("/readyz"), ...times }, livenessProbe: { ...ask("/healthz"), ...times, failureThreshold: 12 } }
}

const serviceOf = (part: Part): KubernetesObject => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: named(part.name),
  spec: { selector: labelsOf(part.name), ports: [{ name: "asked", port: part.port, targetPort: "asked" }] }
})

/** Nobody reaches anybody, unless one of the objects below says so. */
const closed: KubernetesObject = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: named("closed"),
  spec: { podSelector: {}, policyTypes: ["Ingress"] }
}

/** A part is asked by those that have something to ask it. The gateway is the cell's door. */
const openingOf = (part: Part): KubernetesObject => {
  const asking = parts.filter(({ asks }) => asks.includes(part.name))
  const from = part.name === "gateway" ? {} : { from: asking.map(({ name }) => ({ podSelector: chosen(name) })) }
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: named(part.name),
    spec: { podSelector: chosen(part.name), policyTypes: ["Ingress"], ingress: [{ ...from, ports: [{ protocol: "TCP", port: "asked" }] }] }
  }
}

/** Folders that last and that no stateful set claims, each once. */
const claimed: ReadonlyArray<StateFolder> = [...new Map(
  parts.flatMap((part) => part.state.filter((folder) => folder.keep.kind !== "cache" && !ownedBy(part).includes(folder))).map((folder) => [folder.from, folder])
).values()]

const claimObject = (folder: StateFolder): KubernetesObject => ({
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: named(volumeName(folder)),
  spec: claimOf(folder)
})

/** What several parts use lies on several nodes at once: its storage class has to offer that. */
function claimOf({ keep }: StateFolder) {
  return { accessModes: [keep.kind === "together" ? "ReadWriteMany" : "ReadWriteOnce"], resources: { requests: { storage: keep.size } } }
}
