import type { PlacementMade } from "@millrace/schemas"
import { addressOfRank } from "../domain/gang-network.ts"

/**
 * What a member of a gang is told of itself and the others: its rank, how many they are, and where each is found, in
 * the order of ranks. With a network of their own that is where they are in it, and else where their hosts are.
 */
export const gangEnv = ({ gang }: Pick<PlacementMade, "gang">, hasNetwork = false): Readonly<Record<string, string>> =>
  gang === undefined ? {} : {
    MILLRACE_RANK: String(gang.rank),
    MILLRACE_MEMBERS: String(gang.members),
    MILLRACE_ADDRESSES: (hasNetwork ? gang.addresses.map((_, rank) => addressOfRank(rank)) : gang.addresses).join(",")
  }
