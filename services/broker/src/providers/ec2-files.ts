import { Effect, Schema } from "effect"
import { readFile } from "node:fs/promises"
import { Ec2Prices, ec2PricesListed } from "./ec2-prices.ts"
import { type AwsCredentials, credentialsIn } from "./ec2-words.ts"

const decodePrices = Schema.decodeUnknownEffect(Schema.fromJsonString(Ec2Prices))

/** The prices of a file of one's own, or those that we know of. Fails with what is wrong with it. */
export const ec2PricesIn = (path: string | undefined): Effect.Effect<Ec2Prices, string> =>
  path === undefined ? Effect.succeed(ec2PricesListed) : Effect.tryPromise({ try: () => readFile(path, "utf8"), catch: () => `its price file ${path} cannot be read` }).pipe(
    Effect.flatMap((text) => Effect.mapError(decodePrices(text), (error) => `its price file ${path} is malformed: ${error.message}`)))

/** The keys of a credentials file, read again whenever they are wanted: others exchange them. */
export const awsCredentialsIn = (path: string, profile: string | undefined) => async (): Promise<AwsCredentials> => {
  const found = await readFile(path, "utf8").then((text) => credentialsIn(text, profile), () => undefined)
  if (found !== undefined) return found
  throw Object.assign(new Error(`${path} holds no keys under [${profile ?? "default"}]; write aws_access_key_id and aws_secret_access_key there`), { name: "CredentialsUnreadable" })
}
