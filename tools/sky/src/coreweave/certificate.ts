import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto"

/** A server's key and certificate, and the certificate of who signed it, all as PEM. */
export interface Signed {
  readonly key: string
  readonly cert: string
  readonly ca: string
}

const der = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const body = Buffer.concat(parts)
  const { length } = body
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), body])
}

const sequence = (...parts: ReadonlyArray<Uint8Array>) => der(0x30, ...parts)
const oid = (...bytes: ReadonlyArray<number>) => der(0x06, Buffer.from(bytes))
const text = (value: string) => der(0x0c, Buffer.from(value))
const time = (value: string) => der(0x17, Buffer.from(value))
const yes = der(0x01, Buffer.from([0xff]))

const ecdsaWithSha256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02))
const nameOf = (common: string) => sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), text(common))))
const extension = (id: Buffer, critical: boolean, value: Buffer) => sequence(id, ...(critical ? [yes] : []), der(0x04, value))

const basicConstraints = (isAuthority: boolean) => extension(oid(0x55, 0x1d, 0x13), true, isAuthority ? sequence(yes) : sequence())
/** For this machine alone: 127.0.0.1 and localhost. */
const alternativeNames = extension(oid(0x55, 0x1d, 0x11), false, sequence(der(0x87, Buffer.from([127, 0, 0, 1])), der(0x82, Buffer.from("localhost"))))

const pem = (label: string, bytes: Uint8Array) => `-----BEGIN ${label}-----\n${Buffer.from(bytes).toString("base64").replace(/.{1,64}/gu, "$&\n")}-----END ${label}-----\n`

const certify = (serial: number, subject: string, issuer: string, subjectKey: KeyObject, issuerKey: KeyObject, extensions: ReadonlyArray<Buffer>): string => {
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([serial])),
    ecdsaWithSha256,
    nameOf(issuer),
    sequence(time("260101000000Z"), time("491231235959Z")),
    nameOf(subject),
    subjectKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...extensions))
  )
  return pem("CERTIFICATE", sequence(body, ecdsaWithSha256, der(0x03, Buffer.from([0]), sign("sha256", body, issuerKey))))
}

/** An authority of its own for one cluster, as managed Kubernetes has it, and what its server on 127.0.0.1 shows. */
export const signedByItsOwn = (): Signed => {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const server = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const key = server.privateKey.export({ type: "pkcs8", format: "pem" }).toString()
  return {
    key,
    cert: certify(2, "a pretend API server", "a pretend cluster", server.publicKey, authority.privateKey, [basicConstraints(false), alternativeNames]),
    ca: certify(1, "a pretend cluster", "a pretend cluster", authority.publicKey, createPrivateKey(authority.privateKey.export({ type: "pkcs8", format: "pem" })), [basicConstraints(true)])
  }
}
