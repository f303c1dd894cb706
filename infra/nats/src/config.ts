/** The accounts of a server in operator mode: public statements signed by the operator, no secrets. */
export interface OperatorMode {
  readonly operatorJwt: string
  readonly systemAccount: string
  /** Every account's public key and its JWT, taken on the first start; later ones come by update. */
  readonly accounts: Readonly<Record<string, string>>
}

export interface ServerConfig {
  readonly name: string
  readonly port: number
  /** The address that clients reach it on; loopback alone unless it is told. Everything else of it stays on loopback. */
  readonly listen?: string | undefined
  readonly storeDir: string
  /** Where its log goes; a file in its folder unless it is told. */
  readonly logTo?: "file" | "stderr" | undefined
  readonly syncAlways: boolean
  readonly maxPayloadBytes: number
  readonly monitorPort?: number | undefined
  readonly cluster?: { readonly name: string; readonly port: number; readonly routes: ReadonlyArray<number>; readonly password: string } | undefined
  /** Without it everybody may do everything: for tests of libraries alone. */
  readonly accounts?: OperatorMode | undefined
}

const LOG_BYTES_MAX = 8_000_000
const CLAIMS_COMPARED_S = 2
const SIGNED_WITHIN_S = 15
const CONTROL_LINE_BYTES_MAX = 32_768
const quoted = (text: string) => JSON.stringify(text)

/**
 * The text of a server's configuration. Every listener is on loopback, unless `listen` opens the clients'
 * one. The JetStream API stays strict, as it is by default: a request whose body does not parse exactly is
 * refused.
 */
export const configText = (config: ServerConfig): string =>
  [
    `server_name: ${quoted(config.name)}`,
    `listen: "${config.listen ?? "127.0.0.1"}:${config.port}"`,
    ...(config.monitorPort === undefined ? [] : [`http: "127.0.0.1:${config.monitorPort}"`]),
    `ports_file_dir: ${quoted(config.storeDir)}`,
    ...(config.logTo === "stderr" ? [] : [`log_file: ${quoted(`${config.storeDir}/nats-server.log`)}`, `logfile_size_limit: ${LOG_BYTES_MAX}`, "logfile_max_num: 3"]),
    `max_payload: ${config.maxPayloadBytes}`,
    // A client shows its JWT in one line, and a service's names every stream that it reads.
    `max_control_line: ${CONTROL_LINE_BYTES_MAX}`,
    // A lost client is noticed within about half a minute, not four.
    `ping_interval: "10s"`,
    "jetstream {",
    `  store_dir: ${quoted(`${config.storeDir}/jetstream`)}`,
    // The default syncs every two minutes, and lost every acknowledged message in a power cut.
    ...(config.syncAlways ? ["  sync_interval: always"] : []),
    "}",
    ...(config.cluster === undefined ? [] : clusterText(config.cluster)),
    ...(config.accounts === undefined ? [] : accountsText(config.storeDir, config.accounts)),
    ""
  ].join("\n")

const clusterText = ({ name, password, port, routes }: NonNullable<ServerConfig["cluster"]>) => [
  "cluster {",
  `  name: ${quoted(name)}`,
  `  listen: "127.0.0.1:${port}"`,
  // A route carries every account: whoever could open one would be inside all of them.
  `  authorization { user: route, password: ${quoted(password)} }`,
  `  routes: [${routes.map((route) => quoted(`nats://route:${password}@127.0.0.1:${route}`)).join(", ")}]`,
  // One connection a route: many small servers on one machine, and nothing here is bound by a route.
  "  pool_size: -1",
  "}"
]

const accountsText = (storeDir: string, { accounts, operatorJwt, systemAccount }: OperatorMode) => [
  `operator: ${quoted(operatorJwt)}`,
  `system_account: ${quoted(systemAccount)}`,
  // The default is 2 s, which a process that starts among many on a busy machine needs to sign the challenge.
  `authorization { timeout: ${SIGNED_WITHIN_S} }`,
  // The full resolver keeps account JWTs on disk and takes newer ones at run time: revocations arrive so.
  // A node that was down meanwhile learns of them by its first comparison with the others, this soon.
  `resolver { type: full, dir: ${quoted(`${storeDir}/accounts`)}, allow_delete: false, interval: "${CLAIMS_COMPARED_S}s" }`,
  "resolver_preload {",
  ...Object.entries(accounts).map(([key, jwt]) => `  ${key}: ${quoted(jwt)}`),
  "}"
]
