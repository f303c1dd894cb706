import type { V1DaemonSet, V1Secret } from "@kubernetes/client-node"
import type { Wish } from "./provider.ts"
import { cellLabel, poolLabel, poolsOf, sinceLabel, tokenLabel } from "./coreweave-words.ts"

const labelsOf = ({ askedAtMs, cell, token }: Wish) => ({ [cellLabel]: cell, [tokenLabel]: token, [sinceLabel]: String(askedAtMs) })

/** One machine, as CoreWeave sells it: a pool that wants one node. */
export const poolFor = (wish: Wish) => ({
  apiVersion: `${poolsOf.group}/${poolsOf.version}`,
  kind: "NodePool",
  metadata: { name: wish.token, labels: labelsOf(wish) },
  spec: {
    computeClass: wish.column.market === "spot" ? "spot" : "default",
    instanceType: wish.column.machineType,
    targetNodes: 1,
    autoscaling: false,
    nodeLabels: { [cellLabel]: wish.cell, [tokenLabel]: wish.token },
    // Otherwise a node that has work is not removed when the target falls.
    lifecycle: { scaleDownStrategy: "PreferIdle" }
  }
})

const home = "/etc/millrace"

/** The files that the user data would have written on a machine with cloud-init, by their names below /etc/millrace. Undefined: it is of another form. */
export const filesOf = (userData: string): Readonly<Record<string, string>> | undefined => {
  const [head, ...rest] = userData.split("\n")
  if (head !== "#cloud-config") return undefined
  try {
    const { write_files: files = [] } = JSON.parse(rest.join("\n")) as { readonly write_files?: ReadonlyArray<{ readonly path?: unknown; readonly content?: unknown }> }
    const named = files.map(({ content, path }) => [typeof path === "string" && path.startsWith(`${home}/`) ? path.slice(home.length + 1) : "", content] as const)
    return named.every(([name, content]) => /^[\w.-]+$/u.test(name) && typeof content === "string") ? Object.fromEntries(named) as Record<string, string> : undefined
  } catch {
    return undefined
  }
}

/** What the agent is told at its start. Holds the one-time key. */
export const secretFor = (wish: Wish, files: Readonly<Record<string, string>>): V1Secret => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: wish.token, labels: labelsOf(wish) },
  type: "Opaque",
  immutable: true,
  stringData: { ...files }
})

/** How the agent is started on a node: its image, and what runs in it where that is not the image's own entry. */
export interface Agent {
  readonly image: string
  readonly command?: ReadonlyArray<string>
}

/**
 * Starts the agent on the one node of the pool, with the rights of the machine's administrator: there is no user
 * data on bare metal. What it keeps lies on the machine, so an agent that starts again finds it.
 */
export const daemonFor = (wish: Wish, { command, image }: Agent): V1DaemonSet => {
  const labels = { [tokenLabel]: wish.token }
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: wish.token, labels: labelsOf(wish) },
    spec: {
      selector: { matchLabels: labels },
      // An agent is never replaced under its work.
      updateStrategy: { type: "OnDelete" },
      template: {
        metadata: { labels: { ...labels, [cellLabel]: wish.cell } },
        spec: {
          nodeSelector: { [poolLabel]: wish.token },
          // The node is ours alone, whatever taints its type has.
          tolerations: [{ operator: "Exists" }],
          hostNetwork: true,
          hostPID: true,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          containers: [{
            name: "agent",
            image,
            ...(command === undefined ? {} : { command: [...command] }),
            securityContext: { privileged: true },
            volumeMounts: [
              { name: "told", mountPath: home, readOnly: true },
              { name: "kept", mountPath: "/var/lib/millrace" }
            ]
          }],
          volumes: [
            { name: "told", secret: { secretName: wish.token, defaultMode: 0o400 } },
            { name: "kept", hostPath: { path: "/var/lib/millrace", type: "DirectoryOrCreate" } }
          ]
        }
      }
    }
  }
}
