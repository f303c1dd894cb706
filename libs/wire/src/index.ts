/**
 * The data plane: sessions between a client and a host, over a relay that neither has to trust with
 * more than passing bytes on. `openSession` at the client, `makeHostEnd` at the host, `serveRelay` in
 * between; `signWarrant` where authority is given.
 */
export { ChannelOver, type Channel } from "./channel.ts"
export { channelKinds, covers, detailOf, kindOf, type ChannelKind } from "./channel-name.ts"
export { defaultClientEndLimits, HostUnreachable, openSession, SessionRefused, type ClientEndLimits, type ClientSession, type SessionOptions } from "./client-end.ts"
export { ControlMalformed, ControlReader, encodeControl, type Control } from "./control.ts"
export type { Piece } from "./flow.ts"
export { channelsMax, dataBytesMax, frameBytesMax, frameVersion, warrantBytesMax } from "./frame.ts"
export { dialText, hostTokenOf, hostTokenText, type HostToken } from "./host-token.ts"
export { defaultHostEndLimits, makeHostEnd, type HostEnd, type HostEndLimits, type HostEndOptions, type HostSession } from "./host-end.ts"
export { closeCodes, defaultHeartbeat, type Heartbeat } from "./line.ts"
export { defaultRelayLimits, NotAdmitted, serveRelay, type Relay, type RelayLimits, type RelayOptions } from "./relay.ts"
export type { Ending, Windows } from "./session.ts"
export {
  freshHolder, privateKeyFrom, publicKeyFrom, publicKeyOf, rawPublicKey, readWarrant, RefusalCode, signWarrant, ticketOf, verifyWith, WarrantRefused,
  type Allowed, type Holder, type SessionAsk, type SessionWarrant, type VerifyWarrant
} from "./warrant.ts"
