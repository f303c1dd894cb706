import { type Authenticator, jwtAuthenticator } from "@nats-io/transport-node"

/** Proves a host's identity at each connect, with whatever credentials it holds by then. */
export const hostAuthenticator = (jwt: () => string, seed: string): Authenticator =>
  jwtAuthenticator(jwt, new TextEncoder().encode(seed))
