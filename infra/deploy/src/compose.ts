import { keyFiles, type Part, parts, type StateFolder } from "./parts.ts"
import { imageOf, processImage } from "./images.ts"
import type { Versions } from "./versions.ts"

/** Published on this machine alone: whoever wants it seen from elsewhere puts TLS before it. */
const published = { gateway: "127.0.0.1" } as Readonly<Record<string, string>>

/**
 * A compose file as a value. It lies in the folder that was prepared: every path in it is relative to that, and
 * every secret is a file there that its part alone is given.
 */
export const composeFile = (versions: Versions) => ({
  name: "millrace",
  services: Object.fromEntries(parts.map((part) => [part.name, serviceOf(part, versions)])),
  networks: { cell: { driver: "bridge" } },
  secrets: Object.fromEntries(keyFiles.map(({ from, name }) => [name, { file: `./${from}` }]))
})

const serviceOf = (part: Part, versions: Versions) => ({
  image: imageOf(part, versions),
  // Built here beforehand: nobody else's image of that name is taken for it.
  ...(part.image === "millrace" ? { pull_policy: "never" } : {}),
  command: part.command,
  // The account that owns the prepared folder, never root.
  user: "${MILLRACE_UID:?prepare the folder first}:${MILLRACE_GID:?prepare the folder first}",
  read_only: true,
  cap_drop: ["ALL"],
  security_opt: ["no-new-privileges:true"],
  // A host's programs leave children behind: somebody must bury them.
  ...(part.name === "host" ? { init: true } : {}),
  environment: part.settings,
  secrets: part.reads.map(({ at, name }) => ({ source: name, target: at })),
  volumes: part.state.map(volumeOf),
  tmpfs: part.scratch,
  networks: ["cell"],
  ...(part.port === undefined || published[part.name] === undefined ? {} : { ports: [`${published[part.name]}:${part.port}:${part.port}`] }),
  ...(part.waitsFor.length === 0 ? {} : { depends_on: Object.fromEntries(part.waitsFor.map((name) => [name, { condition: conditionOf(name) }])) }),
  ...healthOf(part),
  restart: part.once ? "on-failure:20" : "unless-stopped",
  stop_grace_period: `${part.stopGraceS}s`,
  deploy: {
    resources: {
      limits: { memory: `${part.resources.memoryMibMax}M`, pids: part.name === "host" ? 4096 : 512 },
      reservations: { cpus: String(part.resources.cpuMilli / 1000), memory: `${part.resources.memoryMib}M` }
    }
  },
  logging: { driver: "json-file", options: { "max-size": "10m", "max-file": "3" } }
})

const volumeOf = ({ access, at, from }: StateFolder) => ({ type: "bind", source: `./${from}`, target: at, read_only: access === "read", bind: { create_host_path: false } })

const conditionOf = (name: Part["name"]) => parts.find((part) => part.name === name)?.once ? "service_completed_successfully" : "service_healthy"

const healthOf = ({ health, image }: Part) =>
  health === undefined ? {} : {
    healthcheck: {
      test: ["CMD", ...("command" in health ? health.command : [processImage.node, "-e", askingReady(health.port)])],
      interval: "5s",
      timeout: "4s",
      retries: 3,
      start_period: image === "millrace" ? "120s" : "60s",
      start_interval: "1s"
    }
  }

const askingReady = (port: number) =>
  `fetch("http://127.0.0.1:${port}/readyz",{signal:AbortSignal.timeout(3000)}).then(({ok})=>process.exit(ok?0:1),()=>process.exit(1))`
