import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { parse, parseAllDocuments } from "yaml"
import { generatedFolder } from "./generated.ts"
import { outdated } from "./outdated.ts"
import { parts } from "./parts.ts"
import { readCompose } from "./testing/contained.ts"

const text = (name: string) => readFileSync(new URL(name, generatedFolder), "utf8")

interface Container {
  readonly image: string
  readonly ports?: ReadonlyArray<{ readonly name: string; readonly containerPort: number }>
  readonly securityContext: unknown
  readonly resources: { readonly requests: Record<string, string>; readonly limits: Record<string, string> }
  readonly volumeMounts: ReadonlyArray<{ readonly name: string; readonly mountPath: string; readonly subPath?: string; readonly readOnly?: boolean }>
  readonly env: ReadonlyArray<{ readonly name: string; readonly value: string }>
  readonly [probe: string]: unknown
}

interface PodSpec {
  readonly serviceAccountName: string
  readonly automountServiceAccountToken: boolean
  readonly terminationGracePeriodSeconds: number
  readonly securityContext: Record<string, unknown>
  readonly containers: ReadonlyArray<Container>
  readonly volumes: ReadonlyArray<{ readonly name: string; readonly secret?: { readonly secretName: string }; readonly persistentVolumeClaim?: { readonly claimName: string }; readonly emptyDir?: unknown }>
}

interface Found {
  readonly kind: string
  readonly apiVersion: string
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> }
  readonly spec: any
}

const objects: ReadonlyArray<Found> = parseAllDocuments(text("kubernetes.yaml")).map((document) => {
  assert.deepStrictEqual(document.errors, [])
  return document.toJS()
})
const ofKind = (kind: string) => objects.filter((object) => object.kind === kind)
const names = (kind: string) => ofKind(kind).map(({ metadata }) => metadata.name)
const workloads = objects.filter(({ kind }) => ["Deployment", "StatefulSet", "Job"].includes(kind))
const podOf = (workload: Found): PodSpec => workload.spec.template.spec
const secrets: ReadonlyArray<{ readonly name: string; readonly files: ReadonlyArray<string> }> = parse(text("kustomization.yaml")).secretGenerator
const within = (labels: Record<string, string>, selector: Record<string, string>) => Object.entries(selector).every(([key, value]) => labels[key] === value)

describe("the generated files", () => {
  it("are up to date", () => assert.deepStrictEqual(outdated(), []))

  it("name every image in one version", () => {
    const images = [...Object.values(readCompose(generatedFolder.pathname).services).map(({ image }) => image), ...workloads.flatMap((workload) => podOf(workload).containers.map(({ image }) => image))]
    for (const image of images) assert.match(image, /^[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)?$/u)
    for (const [, version] of text("Dockerfile").matchAll(/^FROM node:(\S+)/gmu)) assert.match(version!, /^24\.\d+\.\d+-/u)
  })
})

describe("compose.yaml", () => {
  const { networks, secrets, services } = readCompose(generatedFolder.pathname)

  it("has one service a part", () => assert.sameMembers(Object.keys(services), parts.map(({ name }) => name)))

  it("names only secrets, networks and services that there are", () => {
    for (const service of Object.values(services)) {
      for (const { source } of service.secrets) assert.property(secrets, source)
      for (const name of service.networks) assert.property(networks, name)
      for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
        assert.property(services, name)
        if (condition === "service_healthy") assert.isDefined(services[name]?.healthcheck, name)
      }
    }
    const used = Object.values(services).flatMap((service) => service.secrets.map(({ source }) => source))
    assert.sameMembers(Object.keys(secrets), [...new Set(used)])
  })

  it("gives nobody a privilege, root, or a door to elsewhere than this machine", () => {
    for (const [name, service] of Object.entries(services)) {
      assert.deepInclude(service, { read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] }, name)
      for (const field of ["privileged", "cap_add", "devices", "pid", "ipc", "network_mode"]) assert.notProperty(service, field, name)
      assert.match(service["user"] as string, /^\$\{MILLRACE_UID:\?/u)
      for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/u)
      assert.notMatch(JSON.stringify(service.volumes), /docker\.sock/u)
    }
    assert.deepStrictEqual(Object.entries(services).filter(([, { ports }]) => ports !== undefined).map(([name]) => name), ["gateway"])
  })

  it("waits as long for a part to stop as the part says", () => {
    for (const { name, stopGraceS } of parts) assert.strictEqual(services[name]?.["stop_grace_period"], `${stopGraceS}s`)
  })
})

describe("kubernetes.yaml", () => {
  it("has one workload a part, one of each", () => {
    assert.sameMembers(workloads.map(({ metadata }) => metadata.name), parts.map(({ name }) => name))
    for (const { kind, spec } of workloads) if (kind !== "Job") assert.strictEqual(spec.replicas, 1)
    for (const { spec } of ofKind("Deployment")) assert.deepStrictEqual(spec.strategy, { type: "Recreate" })
    assert.includeMembers(names("StatefulSet"), ["nats", "postgres"])
  })

  it("names each object once", () => {
    const all = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    assert.deepStrictEqual(all.filter((one, at) => all.indexOf(one) !== at), [])
  })

  it("chooses with every selector pods that there are", () => {
    const pods = workloads.map(({ spec }) => spec.template.metadata.labels as Record<string, string>)
    for (const { kind, metadata, spec } of workloads) if (kind !== "Job") assert.isTrue(within(spec.template.metadata.labels, spec.selector.matchLabels), metadata.name)
    for (const { metadata, spec } of ofKind("Service")) assert.lengthOf(pods.filter((labels) => within(labels, spec.selector)), 1, metadata.name)
    const selectors = ofKind("NetworkPolicy").flatMap(({ spec }) => [spec.podSelector, ...(spec.ingress ?? []).flatMap(({ from }: any) => (from ?? []).map((one: any) => one.podSelector))])
    for (const { matchLabels } of selectors.filter((selector) => selector.matchLabels !== undefined)) assert.lengthOf(pods.filter((labels) => within(labels, matchLabels)), 1)
  })

  it("names only secrets, claims, accounts, services and ports that there are", () => {
    for (const workload of workloads) {
      const pod = podOf(workload)
      const claims = (workload.spec.volumeClaimTemplates ?? []).map(({ metadata }: Found) => metadata.name)
      assert.include(names("ServiceAccount"), pod.serviceAccountName)
      if (workload.kind === "StatefulSet") assert.include(names("Service"), workload.spec.serviceName)
      for (const { persistentVolumeClaim, secret } of pod.volumes) {
        if (secret !== undefined) assert.include(secrets.map(({ name }) => name), secret.secretName)
        if (persistentVolumeClaim !== undefined) assert.include(names("PersistentVolumeClaim"), persistentVolumeClaim.claimName)
      }
      for (const container of pod.containers) {
        const volumes = [...pod.volumes.map(({ name }) => name), ...claims]
        assert.sameMembers([...new Set(container.volumeMounts.map(({ name }) => name))], volumes)
        for (const { name, subPath } of container.volumeMounts) {
          if (subPath !== undefined) assert.isTrue(secrets.find((one) => one.name === name)?.files.some((file) => file.startsWith(`${subPath}=`)), `${name} has no ${subPath}`)
        }
        const ports = (container.ports ?? []).map(({ name }) => name)
        for (const probe of ["livenessProbe", "readinessProbe", "startupProbe"]) {
          const found = container[probe] as { readonly httpGet?: { readonly port: string } } | undefined
          if (found?.httpGet !== undefined) assert.include(ports, found.httpGet.port)
        }
      }
    }
    for (const { metadata, spec } of ofKind("Service")) {
      const workload = workloads.find((one) => one.metadata.name === metadata.name)!
      const port = podOf(workload).containers[0]!.ports?.find(({ name }) => name === spec.ports[0].targetPort)
      assert.strictEqual(port?.containerPort, spec.ports[0].port, metadata.name)
    }
  })

  it("watches every part that stays: whether it lives, and whether it serves", () => {
    for (const workload of workloads.filter(({ kind }) => kind !== "Job")) {
      assert.includeMembers(Object.keys(podOf(workload).containers[0]!), ["livenessProbe", "readinessProbe"], workload.metadata.name)
    }
  })

  it("gives nobody a privilege, root, a token of the cluster, or more than it asks for", () => {
    for (const workload of workloads) {
      const pod = podOf(workload)
      assert.deepInclude(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } })
      assert.isAbove(pod.securityContext["runAsUser"] as number, 0)
      assert.isFalse(pod.automountServiceAccountToken)
      for (const field of ["hostNetwork", "hostPID", "hostIPC", "hostUsers"]) assert.notProperty(pod, field)
      for (const { resources, securityContext } of pod.containers) {
        assert.deepStrictEqual(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } })
        assert.hasAllKeys(resources.requests, ["cpu", "memory"])
        assert.hasAllKeys(resources.limits, ["memory"])
      }
    }
    assert.notMatch(text("kubernetes.yaml"), /hostPath|privileged: true/u)
  })

  it("ends a part only after the time that it gives itself", () => {
    for (const workload of workloads) {
      assert.strictEqual(podOf(workload).terminationGracePeriodSeconds, parts.find(({ name }) => name === workload.metadata.name)?.stopGraceS)
    }
  })

  it("tells every container what the compose file tells it", () => {
    const { services } = readCompose(generatedFolder.pathname)
    for (const workload of workloads) {
      const [container] = podOf(workload).containers
      assert.deepStrictEqual(Object.fromEntries(container!.env.map(({ name, value }) => [name, value])), services[workload.metadata.name]?.environment)
    }
  })
})
