import { crossings } from "./crossing.ts"
import type { Claims } from "./jwt.ts"

/**
 * The two accounts of a cell. Limits are written out, each of them: an account without limits gets no
 * connections at all, and its clients see nothing but a timeout.
 */
const UNLIMITED = -1
const HOST_CONNECTIONS_MAX = 20_000
const HOST_PAYLOAD_BYTES_MAX = 1_048_576
const CELL_MEMORY_BYTES_MAX = 1_073_741_824
const CELL_STREAMS_MAX = 64

const limits = { subs: UNLIMITED, data: UNLIMITED, payload: UNLIMITED, imports: UNLIMITED, exports: UNLIMITED, wildcards: true, conn: UNLIMITED, leaf: 0, disallow_bearer: true }

export interface AccountTerms {
  readonly publicKey: string
  /** Keys that may sign users of this account, so that its own key can stay locked away. */
  readonly signingKeys: ReadonlyArray<string>
  readonly issuedAtS: number
}

/** The services' account: the only one with JetStream. */
export const cellClaims = ({ issuedAtS, publicKey, signingKeys }: AccountTerms): Claims => ({
  name: "CELL",
  sub: publicKey,
  iat: issuedAtS,
  nats: {
    exports: crossings.map(({ cell, name, response, type }) => ({ name, subject: cell, type, ...(response === undefined ? {} : { response_type: response }) })),
    limits: {
      ...limits,
      imports: 0,
      mem_storage: CELL_MEMORY_BYTES_MAX,
      disk_storage: UNLIMITED,
      streams: CELL_STREAMS_MAX,
      consumer: UNLIMITED,
      max_ack_pending: UNLIMITED,
      mem_max_stream_bytes: UNLIMITED,
      disk_max_stream_bytes: UNLIMITED,
      max_bytes_required: false
    },
    signing_keys: signingKeys,
    type: "account",
    version: 2
  }
})

/** Users revoked, by public key: in s since 1970, everything issued up to then is void. */
export type Revocations = Readonly<Record<string, number>>

/** The hosts' account: no JetStream, no exports, and of the services only what crosses. */
export const hostsClaims = (terms: AccountTerms & { readonly cell: string; readonly revocations: Revocations }): Claims => ({
  name: "HOSTS",
  sub: terms.publicKey,
  iat: terms.issuedAtS,
  nats: {
    imports: crossings.map(({ cell, hosts, name, type }) => ({ name, subject: cell, account: terms.cell, local_subject: hosts, type })),
    limits: { ...limits, exports: 0, conn: HOST_CONNECTIONS_MAX, payload: HOST_PAYLOAD_BYTES_MAX },
    signing_keys: terms.signingKeys,
    revocations: terms.revocations,
    type: "account",
    version: 2
  }
})

/** The system's account: the server's own, with no part in the cell's work. */
export const systemClaims = ({ issuedAtS, publicKey, signingKeys }: AccountTerms): Claims => ({
  name: "SYS",
  sub: publicKey,
  iat: issuedAtS,
  nats: { limits: { ...limits, imports: 0, exports: 0 }, signing_keys: signingKeys, type: "account", version: 2 }
})

/** Who stands above the accounts. Accounts are signed by one of its signing keys. */
export const operatorClaims = (terms: AccountTerms & { readonly systemAccount: string }): Claims => ({
  name: "millrace",
  sub: terms.publicKey,
  iat: terms.issuedAtS,
  nats: { signing_keys: terms.signingKeys, system_account: terms.systemAccount, type: "operator", version: 2 }
})
