import { Effect } from "effect"
import { createSocket } from "node:dgram"

const lookMsMax = 5_000

/**
 * The address that this machine has on its way to another one, as its routes say; nothing is sent. Undefined where the
 * two are one machine, or there is no way: then nobody else is known to reach this one.
 */
export const addressTowards = (url: string): Effect.Effect<string | undefined> =>
  Effect.callback<string | undefined>((resume) => {
    const { hostname, port, protocol } = new URL(url)
    const host = hostname.replace(/^\[|\]$/gu, "")
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4")
    const done = (address: string | undefined) => resume(Effect.succeed(address === undefined || address === "::1" || address.startsWith("127.") ? undefined : address))
    socket.once("error", () => done(undefined))
    socket.connect(Number(port) || (protocol === "http:" ? 80 : 443), host, (failed?: Error) => done((failed ?? null) === null ? socket.address().address : undefined))
    return Effect.sync(() => void socket.close())
  }).pipe(Effect.timeoutOrElse({ duration: lookMsMax, orElse: () => Effect.succeed(undefined) }))
