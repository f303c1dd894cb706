import type { PlacementMade } from "@millrace/schemas"

/** What a member of a gang is told of itself and the others: its rank, how many they are, and where each is found, in the order of ranks. */
export const gangEnv = ({ gang }: Pick<PlacementMade, "gang">): Readonly<Record<string, string>> =>
  gang === undefined ? {} : { MILLRACE_RANK: String(gang.rank), MILLRACE_MEMBERS: String(gang.members), MILLRACE_ADDRESSES: gang.addresses.join(",") }
