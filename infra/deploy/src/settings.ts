import { type Places, processes, type ProcessName } from "./places.ts"

/** The environment of one process. */
export type Settings = Readonly<Record<string, string>>

/**
 * The environment of each process of a cell: the one table that the run on one machine, the compose file and the
 * Kubernetes manifests are made of. Whoever is not named here has its default.
 */
export const cellSettings = (places: Places): Readonly<Record<ProcessName, Settings>> => {
  const { folders, keys, listen, ports, urls } = places
  const everybody: Settings = {
    ...(places.health === undefined ? {} : { MILLRACE_HEALTH_HOST: places.health.host, MILLRACE_HEALTH_PORT: String(places.health.port) })
  }
  const log: Settings = { ...everybody, MILLRACE_NATS_URL: places.natsUrl, MILLRACE_NATS_CREDS: keys.credentials }
  const tables: Settings = {
    ...(places.databaseUrl === undefined ? {} : { MILLRACE_DATABASE_URL: places.databaseUrl }),
    ...(places.settingsFile === undefined ? {} : { MILLRACE_CONFIG: places.settingsFile })
  }
  const checking: Settings = { MILLRACE_CELL_KEY_PUBLIC: keys.cellPublic }
  const checkpoints: Settings = { MILLRACE_CHECKPOINTS: folders.checkpoints }
  const blobs: Settings = { MILLRACE_BLOBS: folders.blobs }
  return {
    gateway: {
      ...log,
      ...tables,
      ...checking,
      ...blobs,
      MILLRACE_API_HOST: listen,
      MILLRACE_API_PORT: String(ports.gateway),
      MILLRACE_KEYS: folders.workspaces,
      MILLRACE_SESSION_KEY: keys.session,
      MILLRACE_ACCESS_URL: urls.access,
      MILLRACE_METERING_URL: urls.metering,
      MILLRACE_SCHEDULER_URL: urls.scheduler,
      MILLRACE_BROKER_URL: urls.broker,
      MILLRACE_SNAPSHOTS_URL: urls.snapshots
    },
    scheduler: {
      ...log,
      ...tables,
      ...checking,
      ...checkpoints,
      MILLRACE_CELL_KEY: keys.cell,
      MILLRACE_SCHEDULER_HOST: listen,
      MILLRACE_SCHEDULER_PORT: String(ports.scheduler)
    },
    access: {
      ...log,
      ...tables,
      ...checking,
      ...checkpoints,
      MILLRACE_ACCESS_HOST: listen,
      MILLRACE_ACCESS_PORT: String(ports.access),
      MILLRACE_ADMISSION_KEYS: keys.admission,
      MILLRACE_ENROLMENTS: keys.enrolments,
      MILLRACE_OWNER: keys.owner
    },
    metering: { ...log, ...tables, ...checking, ...checkpoints, MILLRACE_METERING_HOST: listen, MILLRACE_METERING_PORT: String(ports.metering) },
    broker: {
      ...log,
      ...tables,
      ...checking,
      ...checkpoints,
      ...blobs,
      MILLRACE_BROKER_HOST: listen,
      MILLRACE_BROKER_PORT: String(ports.broker),
      MILLRACE_BROKER_KEY: keys.broker
    },
    snapshots: { ...log, ...tables, ...checking, ...checkpoints, ...blobs, MILLRACE_SNAPSHOTS_HOST: listen, MILLRACE_SNAPSHOTS_PORT: String(ports.snapshots) },
    host: {
      ...everybody,
      ...checking,
      ...blobs,
      MILLRACE_NATS_URL: places.natsUrl,
      MILLRACE_ACCESS_URL: urls.access,
      MILLRACE_API_URL: urls.gateway,
      MILLRACE_ONE_TIME_KEY: keys.oneTimeKey,
      MILLRACE_HOST_DIR: folders.host,
      MILLRACE_KEYS: folders.workspaces,
      MILLRACE_SESSION_KEY_PUBLIC: keys.sessionPublic
    }
  }
}

/** One environment for all of them in one process, where they must agree about every name. */
export const allTogether = (settings: Readonly<Record<ProcessName, Settings>>): Settings => {
  const all: Record<string, string> = {}
  for (const process of processes) {
    for (const [name, value] of Object.entries(settings[process])) {
      if ((all[name] ?? value) !== value) throw new Error(`${name} is ${all[name]} for one process and ${value} for ${process}: they cannot be one process`)
      all[name] = value
    }
  }
  return all
}
