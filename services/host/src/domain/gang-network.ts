/**
 * The network that the members of one gang have to themselves: an IPv4 network of which nothing but they is part.
 * Every gang has the same addresses, for no two of them ever meet.
 */

const network = [10, 77] as const

/** Bits of an address that all members share. */
export const prefixBits = 16

/** The network device inside: the one besides loopback. */
export const deviceName = "gang0"

/** Where torch and what follows its conventions looks for rank 0, unless the job says otherwise. Source: torch.distributed, `env://`. */
export const masterPort = 29_500

/** The four bytes of a member's address; rank 0 has 10.77.0.1. */
const bytesOfRank = (rank: number): readonly [number, number, number, number] => [...network, (rank + 1) >> 8, (rank + 1) & 255]

/** Where the other members find a member. */
export const addressOfRank = (rank: number): string => bytesOfRank(rank).join(".")

/** Which member has this address. Undefined: none that a gang could have. */
export const rankAt = (packet: Uint8Array, from: number): number | undefined => {
  if (packet[from] !== network[0] || packet[from + 1] !== network[1]) return undefined
  const number = (packet[from + 2]! << 8) | packet[from + 3]!
  return number === 0 ? undefined : number - 1
}

/** A member's hardware address: one that nobody has registered (second bit of the first byte), with its address in it. */
export const hardwareOfRank = (rank: number): Uint8Array => Uint8Array.of(2, 0x4d, ...bytesOfRank(rank))

/** The same as tools write it. */
export const hardwareInWords = (rank: number): string => Buffer.from(hardwareOfRank(rank)).toString("hex").replace(/..(?!$)/gu, "$&:")

/** A member's place in a network. */
export interface Member {
  readonly rank: number
  readonly members: number
}

/** The members by name, for `/etc/hosts`. */
export const namesOf = ({ members }: Member): string =>
  Array.from({ length: members }, (_, rank) => `${addressOfRank(rank)} rank-${rank}\n`).join("")

/** What a program that follows torch's conventions is told, each member being one process. A job's own environment goes before it. */
export const torchEnv = ({ members, rank }: Member): Readonly<Record<string, string>> => ({
  MASTER_ADDR: addressOfRank(0),
  MASTER_PORT: String(masterPort),
  RANK: String(rank),
  WORLD_SIZE: String(members)
})

/** The longest IP packet between members of several hosts: with what sealing and UDP add it fits the networks of all clouds (1460 bytes). */
export const mtuBetweenHosts = 1360
/** The longest IP packet between members of one host, and between hosts whose network was seen to bring so much at once. */
export const mtuWhereItPasses = 8900
