import { availableParallelism } from "node:os"

const cores = availableParallelism()

/** What differs from run to run and from machine to machine, by name instead of value. */
export const normalised = (line: string): string =>
  line
    .replace(/\b(job|hst|grt|acc)_[0-9A-Z]{26}\b/gu, "$1_...")
    .replace(/^( +)\+\d+\.\d{3} s +/u, "$1+... s  ")
    .replace(/stdout is kept: \d+ bytes/u, "stdout is kept: ... bytes")
    .replace(/\b[0-9a-f]{32}\b/gu, "...")
    .replace(/needs \d+ cores, 256/u, "needs ... cores, 256")
    .replace(/\+\d+ ms */u, "+... ms  ")
    .replace(/(of|hosts has) [\d.]+ cores, \d+ MiB(, \d+ MiB disk)? free/u, "$1 ... cores, ... MiB, ... MiB disk free")
    .replace(`room: ${cores} cores`, "room: ... cores")
    .replace(`sandbox, ${cores} cores`, "sandbox, ... cores")
    .replace(/\$\d+\.\d+( is (needed|given))?/gu, (text, rest: string | undefined) => rest === undefined && text !== "$0.00" && text !== "$0.05" ? "$..." : text)
    .replace(/ +\d+ ms/gu, " ... ms")
    .replace(/after \d+ ms/u, "after ... ms")
    .replace(/(\d+) bytes out/u, "... bytes out")
    .replace(/ +$/u, "")
