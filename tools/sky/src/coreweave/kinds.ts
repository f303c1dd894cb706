import { anything, type Form, listOf, object, oneOf, text, texts, whole, wrongLabels, yesOrNo } from "./forms.ts"
import type { Resource, Thing } from "./objects.ts"
import type { Wrong } from "./status.ts"

const every = ["create", "delete", "get", "list", "patch", "update", "watch"]

export const nodePools: Resource = { group: "compute.coreweave.com", version: "v1alpha1", plural: "nodepools", kind: "NodePool", namespaced: false, verbs: every }
export const nodes: Resource = { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false, verbs: ["get", "list", "watch"] }
export const secrets: Resource = { group: "", version: "v1", plural: "secrets", kind: "Secret", namespaced: true, verbs: every }
export const namespaces: Resource = { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false, verbs: ["get", "list"] }
export const daemonSets: Resource = { group: "apps", version: "v1", plural: "daemonsets", kind: "DaemonSet", namespaced: true, verbs: every }
export const reviews: Resource = { group: "authorization.k8s.io", version: "v1", plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", namespaced: false, verbs: ["create"] }

export const resources: ReadonlyArray<Resource> = [nodePools, nodes, secrets, namespaces, daemonSets, reviews]

const metadata = object({
  name: text, generateName: text, namespace: text, labels: texts, annotations: texts, resourceVersion: text, uid: text, creationTimestamp: anything, generation: whole,
  deletionTimestamp: anything, finalizers: anything, ownerReferences: anything, managedFields: anything
})
const whole3 = { apiVersion: text, kind: text, metadata }

/** "Node Pool spec", field by field, as the reference page has it. */
const nodePool = object({
  ...whole3,
  status: anything,
  spec: object({
    computeClass: oneOf("default", "spot", "Spot"),
    instanceType: text,
    targetNodes: whole,
    targetRacks: whole,
    minNodes: whole,
    maxNodes: whole,
    nodeLabels: texts,
    nodeAnnotations: texts,
    nodeTaints: listOf(object({ key: text, value: text, effect: oneOf("NoSchedule", "PreferNoSchedule", "NoExecute") }, "key", "effect")),
    image: anything,
    gpu: object({ version: text }),
    autoscaling: yesOrNo,
    lifecycle: object({ scaleDownStrategy: oneOf("IdleOnly", "PreferIdle") }),
    schedulingPriority: object({ value: whole })
  }, "instanceType")
}, "spec")

const secret = object({ ...whole3, type: text, immutable: yesOrNo, data: texts, stringData: texts })

const volume = object({
  name: text, secret: object({ secretName: text, defaultMode: whole, items: anything, optional: yesOrNo }, "secretName"),
  hostPath: object({ path: text, type: text }, "path"), emptyDir: anything, configMap: anything
}, "name")

const container = object({
  name: text, image: text, command: listOf(text), args: listOf(text), workingDir: text, env: anything, envFrom: anything, imagePullPolicy: oneOf("Always", "IfNotPresent", "Never"),
  resources: anything, securityContext: anything, livenessProbe: anything, readinessProbe: anything, ports: anything,
  volumeMounts: listOf(object({ name: text, mountPath: text, readOnly: yesOrNo, subPath: text, mountPropagation: text }, "name", "mountPath"))
}, "name", "image")

const daemonSet = object({
  ...whole3,
  status: anything,
  spec: object({
    selector: object({ matchLabels: texts, matchExpressions: anything }),
    updateStrategy: object({ type: oneOf("RollingUpdate", "OnDelete"), rollingUpdate: anything }),
    minReadySeconds: whole,
    revisionHistoryLimit: whole,
    template: object({
      metadata,
      spec: object({
        containers: listOf(container), initContainers: listOf(container), volumes: listOf(volume), nodeSelector: texts, affinity: anything, serviceAccountName: text,
        tolerations: listOf(object({ key: text, operator: oneOf("Exists", "Equal"), value: text, effect: text, tolerationSeconds: whole })),
        hostNetwork: yesOrNo, hostPID: yesOrNo, hostIPC: yesOrNo, automountServiceAccountToken: yesOrNo, enableServiceLinks: yesOrNo, restartPolicy: oneOf("Always"),
        imagePullSecrets: anything, terminationGracePeriodSeconds: whole, dnsPolicy: text, priorityClassName: text, securityContext: anything
      }, "containers")
    }, "spec")
  }, "selector", "template")
}, "spec")

const review = object({
  ...whole3,
  status: anything,
  spec: object({ resourceAttributes: object({ group: text, version: text, resource: text, subresource: text, verb: text, namespace: text, name: text }), nonResourceAttributes: anything })
}, "spec")

/** The description of each kind that somebody can send. */
export const formOf = (resource: Resource): Form | undefined =>
  resource === nodePools ? nodePool : resource === secrets ? secret : resource === daemonSets ? daemonSet : resource === reviews ? review : undefined

const at = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((inner, name) => (typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>)[name] : undefined), value)

const required = (field: string): Wrong => ({ field, reason: "FieldValueRequired", message: "Required value" })
const bad = (field: string, message: string): Wrong => ({ field, reason: "FieldValueInvalid", message: `Invalid value: ${message}` })

/** What a form cannot say: what must fit together, and what may not change. */
export const wrongsOf = (resource: Resource, thing: Thing, before?: Thing): ReadonlyArray<Wrong> => {
  const shared = wrongLabels(thing.metadata.labels, "metadata.labels")
  if (resource === nodePools) return [...shared, ...poolWrongs(thing, before)]
  if (resource === secrets) return [...shared, ...secretWrongs(thing, before)]
  return resource === daemonSets ? [...shared, ...daemonWrongs(thing)] : shared
}

const poolWrongs = (thing: Thing, before?: Thing): ReadonlyArray<Wrong> => {
  const target = at(thing, "spec", "targetNodes")
  const racks = at(thing, "spec", "targetRacks")
  const type = at(before, "spec", "instanceType")
  return [
    ...((target === undefined) === (racks === undefined) ? [bad("spec", "exactly one of targetNodes and targetRacks must be provided")] : []),
    ...(typeof target === "number" && target < 0 ? [bad("spec.targetNodes", `${target}: should be greater than or equal to 0`)] : []),
    ...(type !== undefined && type !== at(thing, "spec", "instanceType") ? [bad("spec.instanceType", `"${String(at(thing, "spec", "instanceType"))}": InstanceType cannot be changed`)] : []),
    ...wrongLabels(at(thing, "spec", "nodeLabels"), "spec.nodeLabels")
  ]
}

const secretWrongs = (thing: Thing, before?: Thing): ReadonlyArray<Wrong> => [
  ...Object.entries((at(thing, "data") ?? {}) as Record<string, string>).flatMap(([key, value]) => [
    ...(/^[-._a-zA-Z0-9]{1,253}$/u.test(key) ? [] : [bad("data", `"${key}": a valid config key must consist of alphanumeric characters, '-', '_' or '.'`)]),
    ...(Buffer.from(value, "base64").toString("base64") === value ? [] : [bad(`data[${key}]`, "illegal base64 data")])
  ]),
  ...(at(before, "immutable") === true && JSON.stringify(at(before, "data")) !== JSON.stringify(at(thing, "data")) ? [bad("data", "field is immutable when `immutable` is set")] : [])
]

const daemonWrongs = (thing: Thing): ReadonlyArray<Wrong> => {
  const chosen = (at(thing, "spec", "selector", "matchLabels") ?? {}) as Record<string, string>
  const labels = (at(thing, "spec", "template", "metadata", "labels") ?? {}) as Record<string, string>
  const containers = (at(thing, "spec", "template", "spec", "containers") ?? []) as ReadonlyArray<{ readonly name: string; readonly volumeMounts?: ReadonlyArray<{ readonly name: string }> }>
  const volumes = ((at(thing, "spec", "template", "spec", "volumes") ?? []) as ReadonlyArray<{ readonly name: string }>).map(({ name }) => name)
  return [
    ...(Object.keys(chosen).length === 0 ? [required("spec.selector")] : []),
    ...(Object.entries(chosen).every(([key, value]) => labels[key] === value) ? [] : [bad("spec.template.metadata.labels", "`selector` does not match template `labels`")]),
    ...(containers.length === 0 ? [required("spec.template.spec.containers")] : []),
    ...wrongLabels(labels, "spec.template.metadata.labels"),
    ...wrongLabels(at(thing, "spec", "template", "spec", "nodeSelector"), "spec.template.spec.nodeSelector"),
    ...containers.flatMap(({ volumeMounts = [] }, index) => volumeMounts.filter(({ name }) => !volumes.includes(name))
      .map(({ name }): Wrong => ({ field: `spec.template.spec.containers[${index}].volumeMounts`, reason: "FieldValueInvalid", message: `Not found: "${name}"` })))
  ]
}

/** What the API writes into a thing that is new: a secret's texts become data, and it is of some type. */
export const withDefaults = (resource: Resource, thing: Thing): Thing => {
  if (resource === nodePools) return { ...thing, spec: { computeClass: "default", autoscaling: false, lifecycle: { scaleDownStrategy: "IdleOnly" }, ...(thing["spec"] as object) } }
  if (resource !== secrets) return thing
  const { stringData = {}, ...rest } = thing as Thing & { readonly stringData?: Readonly<Record<string, string>> }
  const encoded = Object.fromEntries(Object.entries(stringData).map(([key, value]) => [key, Buffer.from(value).toString("base64")]))
  return { ...rest, type: rest["type"] ?? "Opaque", data: { ...(rest["data"] as object | undefined), ...encoded } }
}
