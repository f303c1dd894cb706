import { type AdmissionShape, credentialsIn, credsText, hostCredentials, type HostCredentials, makeAdmission, newSeed, type Permissions, signClaims, signingKey, userClaims } from "@millrace/journal/admission"
import { HostId } from "@millrace/schemas"
import { connect, type NatsConnection } from "@nats-io/transport-node"
import { Context, Effect, Layer, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Cell, startCell, type UserName } from "../index.ts"

/** A folder that is gone when the scope closes. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-nats-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Connects with the text of a credentials file. Never reconnects, so that being thrown out is seen. */
export const connectAs = (url: string, creds: string): Effect.Effect<NatsConnection, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => connect({
      servers: url,
      reconnect: false,
      ...credentialsIn(creds)
    })),
    (connection) => Effect.promise(() => connection.close())
  )

/** A host's side: the seed is made here and never handed over. */
export interface TestHost {
  readonly hostId: HostId
  readonly publicKey: string
  readonly connect: (url: string, credentials: HostCredentials) => Promise<NatsConnection>
}

export const testHost = (number: number): TestHost => {
  const seed = newSeed("user")
  return {
    hostId: HostId.make(`hst_01K9${String(number).padStart(22, "0")}`),
    publicKey: signingKey(seed).publicKey,
    connect: async (url, { jwt }) => await connect({ servers: url, reconnect: false, ...hostCredentials(seed, () => jwt) })
  }
}

export interface CellUnderTestShape {
  readonly cell: Cell
  readonly url: string
  readonly admission: AdmissionShape
  /** A connection of one of the services. */
  readonly as: (user: UserName) => Effect.Effect<NatsConnection, never, Scope.Scope>
  /** A connection in the services' account with any permissions: what must not exist outside tests. */
  readonly inCell: (permissions: Permissions | "everything") => Effect.Effect<NatsConnection, never, Scope.Scope>
}

/** A running cell with its streams, and somebody who admits hosts. */
export class CellUnderTest extends Context.Service<CellUnderTest, CellUnderTestShape>()("millrace/CellUnderTest") {
  static readonly layer: Layer.Layer<CellUnderTest> = Layer.effect(this, Effect.suspend(() => Effect.orDie(startCellUnderTest)))
}

export const startCellUnderTest: Effect.Effect<CellUnderTestShape, unknown, Scope.Scope> = Effect.gen(function*() {
  const dir = yield* folder
  const cell = yield* startCell({ storeDir: join(dir, "store"), keysDir: join(dir, "keys") })
  const url = cell.urls[0] as string
  const admission = yield* makeAdmission({ servers: [url], creds: cell.keys.creds("access"), keys: cell.keys.admission })
  const shape: CellUnderTestShape = {
    cell,
    url,
    admission,
    as: (user) => connectAs(url, cell.keys.creds(user)),
    inCell: (permissions) => Effect.suspend(() => {
      const seed = newSeed("user")
      const key = signingKey(seed)
      const inbox = `_INBOX_${key.secretName("inbox")}.>`
      const jwt = signClaims(userClaims({
        name: "test",
        publicKey: key.publicKey,
        account: cell.keys.cellAccount,
        permissions: permissions === "everything"
          ? { publish: [">"], subscribe: [inbox, ">"] }
          : { ...permissions, subscribe: [...permissions.subscribe, inbox] },
        issuedAtS: Math.floor(Date.now() / 1000),
        subscriptionsMax: -1,
        payloadBytesMax: -1
      }), cell.keys.cellSigning)
      return connectAs(url, credsText(jwt, seed))
    })
  }
  return shape
})
