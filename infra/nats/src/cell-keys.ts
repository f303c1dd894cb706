import {
  type AdmissionKeys,
  cellClaims,
  type Claims,
  claimsIn,
  claimsPermissions,
  credsText,
  hostsClaims,
  inboxPrefix,
  jwtInCreds,
  newSeed,
  operatorClaims,
  type Permissions,
  provisionerPermissions,
  submitterPermissions,
  type Revocations,
  seedInCreds,
  type ServiceName,
  servicePermissions,
  services,
  signClaims,
  type SigningKey,
  signingKey,
  systemClaims,
  userClaims
} from "@millrace/journal/admission"
import { Clock, Effect } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import type { OperatorMode } from "./config.ts"
import { openKeyFolder, readKeyFile, seedIn, writeKeyFile } from "./key-folder.ts"

/** Everybody who holds credentials made here. Hosts do not: theirs are minted when they join. */
export type UserName = ServiceName | "provisioner" | "claims" | "submitter"

/** A cell's keys: what its server is told, and where its services' credentials lie. */
export interface CellKeys {
  readonly folder: string
  readonly accounts: OperatorMode
  readonly cellAccount: string
  readonly hostsAccount: string
  /** Signs users of the services' account. */
  readonly cellSigning: SigningKey
  /** The credentials file of a user, readable by its owner alone. */
  readonly credsFile: (user: UserName) => string
  readonly creds: (user: UserName) => string
  /** What access needs to admit hosts, and the file that holds it. */
  readonly admission: AdmissionKeys
  readonly admissionFile: string
}

const SERVICE_SUBSCRIPTIONS_MAX = 4_096
const SERVICE_PAYLOAD_BYTES_MAX = 8_388_608

/**
 * Opens the cell's keys, making them on the first run. Accounts and users are written from the
 * catalogue each time: what has changed there is signed anew, what has not stays as it was.
 *
 * `storeDir` is the server's: revocations that arrived at run time lie there, and are carried over.
 */
export const openCellKeys = Effect.fnUntraced(function*({ keysDir, storeDir }: { readonly keysDir: string; readonly storeDir: string }) {
  const folder = resolve(keysDir)
  yield* openKeyFolder(folder)
  const nowS = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  const key = (name: Parameters<typeof seedIn>[1]) => signingKey(seedIn(folder, name))
  const [operator, operatorSigning] = [key("operator"), key("operator-signing")]
  const account = (name: "system" | "cell" | "hosts") => {
    const signing = key(`${name}-signing`)
    return { publicKey: key(name).publicKey, signing, terms: { publicKey: key(name).publicKey, signingKeys: [signing.publicKey], issuedAtS: nowS } }
  }
  const [system, cell, hosts] = [account("system"), account("cell"), account("hosts")]

  const hostsJwtNow = newest([readKeyFile(folder, "hosts.jwt"), resolverFile(storeDir, hosts.publicKey)])
  const revocations = (hostsJwtNow === undefined ? {} : claimsIn(hostsJwtNow).nats["revocations"] ?? {}) as Revocations
  const signed = (name: string, claims: Claims, signer: SigningKey, now = readKeyFile(folder, name)) => {
    const jwt = now !== undefined && sameButTime(claimsIn(now), claims) ? now : signClaims(after(now, claims), signer)
    writeKeyFile(folder, name, jwt)
    return jwt
  }
  const operatorJwt = signed("operator.jwt", operatorClaims({
    publicKey: operator.publicKey, signingKeys: [operatorSigning.publicKey], issuedAtS: nowS, systemAccount: system.publicKey
  }), operator)
  const accounts = {
    [system.publicKey]: signed("system.jwt", systemClaims(system.terms), operatorSigning),
    [cell.publicKey]: signed("cell.jwt", cellClaims(cell.terms), operatorSigning),
    [hosts.publicKey]: signed("hosts.jwt", hostsClaims({ ...hosts.terms, cell: cell.publicKey, revocations }), operatorSigning, hostsJwtNow)
  }

  /** A user keeps its key and inbox; its JWT follows its permissions. */
  const user = (name: UserName, of: typeof cell, permissions: (inbox: string) => Permissions) => {
    const now = readKeyFile(folder, `${name}.creds`)
    const seed = now === undefined ? newSeed("user") : seedInCreds(now)
    const { publicKey, secretName } = signingKey(seed)
    const claims = userClaims({
      name,
      publicKey,
      account: of.publicKey,
      permissions: permissions(inboxPrefix(secretName("inbox"))),
      issuedAtS: nowS,
      subscriptionsMax: SERVICE_SUBSCRIPTIONS_MAX,
      payloadBytesMax: SERVICE_PAYLOAD_BYTES_MAX
    })
    if (now !== undefined && sameButTime(claimsIn(jwtInCreds(now)), claims)) return
    writeKeyFile(folder, `${name}.creds`, credsText(signClaims(claims, of.signing), seed))
  }
  for (const name of Object.keys(services) as Array<ServiceName>) user(name, cell, (inbox) => servicePermissions(name, inbox))
  user("provisioner", cell, provisionerPermissions)
  user("submitter", cell, submitterPermissions)
  user("claims", system, (inbox) => claimsPermissions(hosts.publicKey, inbox))

  const creds = (name: UserName) => readFileSync(join(folder, `${name}.creds`), "utf8")
  const admission: AdmissionKeys = {
    hostsAccount: hosts.publicKey,
    hostsSigningSeed: seedIn(folder, "hosts-signing"),
    operatorSigningSeed: seedIn(folder, "operator-signing"),
    claimsCreds: creds("claims")
  }
  writeKeyFile(folder, "admission.json", `${JSON.stringify(admission, null, 2)}\n`)

  const keys: CellKeys = {
    folder,
    accounts: { operatorJwt, systemAccount: system.publicKey, accounts },
    cellAccount: cell.publicKey,
    hostsAccount: hosts.publicKey,
    cellSigning: cell.signing,
    credsFile: (name) => join(folder, `${name}.creds`),
    creds,
    admission,
    admissionFile: join(folder, "admission.json")
  }
  return keys
})

/** Where the server's resolver keeps an account's claims. */
const resolverFile = (storeDir: string, account: string) => {
  const path = join(storeDir, "accounts", `${account}.jwt`)
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined
}

const newest = (jwts: ReadonlyArray<string | undefined>) =>
  jwts.filter((jwt) => jwt !== undefined).toSorted((a, b) => claimsIn(b).iat - claimsIn(a).iat)[0]

/** Servers keep the claims issued last, so what replaces others must be issued behind them. */
const after = (now: string | undefined, claims: Claims): Claims =>
  now === undefined ? claims : { ...claims, iat: Math.max(claims.iat, claimsIn(now).iat + 1) }

/** Whether two claims say the same, whenever they were issued. */
const sameButTime = (one: Claims, other: Claims) => {
  const said = ({ name, nats, sub }: Claims) => JSON.stringify([name, sub, nats])
  return said(one) === said(other)
}
