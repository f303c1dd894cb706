import { Schema } from "effect"

/** Dollars an hour, as price lists write them. */
const Dollars = Schema.String.check(Schema.isPattern(/^\d{1,6}(?:\.\d{1,9})?$/u))

/**
 * What on-demand instances cost an hour: the API has no call that says so, and the vendor's price list is a file of
 * its own. By region and type; what is not in it is not offered.
 */
export const Ec2Prices = Schema.Struct({
  /** Which list, and of when. */
  source: Schema.NonEmptyString,
  regions: Schema.Record(Schema.String, Schema.Record(Schema.String, Dollars))
})
export type Ec2Prices = typeof Ec2Prices.Type

/** Linux, on demand, GPUs on x86_64 in one region, as a public table had them on 2026-07-20. A list of one's own goes before it. */
export const ec2PricesListed: Ec2Prices = {
  source: "aws/karpenter-provider-aws, its generated price table of 2026-07-20",
  regions: {
    "us-east-1": {
      "g4dn.12xlarge": "3.912", "g4dn.16xlarge": "4.352", "g4dn.2xlarge": "0.752", "g4dn.4xlarge": "1.204", "g4dn.8xlarge": "2.176",
      "g4dn.metal": "7.824", "g4dn.xlarge": "0.526", "g5.12xlarge": "5.672", "g5.16xlarge": "4.096", "g5.24xlarge": "8.144", "g5.2xlarge": "1.212",
      "g5.48xlarge": "16.288", "g5.4xlarge": "1.624", "g5.8xlarge": "2.448", "g5.xlarge": "1.006", "g6.12xlarge": "4.6016", "g6.16xlarge": "3.3968",
      "g6.24xlarge": "6.6752", "g6.2xlarge": "0.9776", "g6.48xlarge": "13.3504", "g6.4xlarge": "1.3232", "g6.8xlarge": "2.0144",
      "g6.xlarge": "0.8048", "g6e.12xlarge": "10.49264", "g6e.16xlarge": "7.57719", "g6e.24xlarge": "15.06559", "g6e.2xlarge": "2.24208",
      "g6e.48xlarge": "30.13118", "g6e.4xlarge": "3.00424", "g6e.8xlarge": "4.52856", "g6e.xlarge": "1.861", "g7e.12xlarge": "8.28608",
      "g7e.24xlarge": "16.57216", "g7e.2xlarge": "3.36312", "g7e.48xlarge": "33.14432", "g7e.4xlarge": "3.99816", "g7e.8xlarge": "5.26824",
      "p3.16xlarge": "24.48", "p3.2xlarge": "3.06", "p3.8xlarge": "12.24", "p3dn.24xlarge": "31.212", "p4d.24xlarge": "21.957642",
      "p4de.24xlarge": "27.44705", "p5.48xlarge": "55.04", "p5.4xlarge": "6.88", "p5en.48xlarge": "63.296", "p6-b200.48xlarge": "113.9328",
      "p6-b300.48xlarge": "142.416"
    }
  }
}

/** Pico-dollars a second for dollars an hour, rounded up: we never say less than we owe. */
export const picoPerSecondOfDollars = (perHour: string): bigint => {
  const [whole = "0", part = ""] = perHour.split(".")
  return (BigInt(whole) * 1_000_000_000_000n + BigInt(part.padEnd(12, "0").slice(0, 12)) + 3599n) / 3600n
}

/** The other way round, as a bid: rounded down, so that it is never more than we would pay. */
export const dollarsOfPicoPerSecond = (picoPerSecond: bigint): string => {
  const perHour = (picoPerSecond * 3600n) / 1_000_000n
  return `${perHour / 1_000_000n}.${(perHour % 1_000_000n).toString().padStart(6, "0")}`
}
