import type { HostId } from "@millrace/schemas"

/** What the bench says to a process of hosts. */
export type Order =
  /** Make the keys of hosts with these numbers; their private halves stay there. */
  | { readonly what: "make"; readonly numbers: ReadonlyArray<number> }
  /** Connect a host with what access minted for it, and hear what is placed on it. */
  | { readonly what: "enter"; readonly hostId: HostId; readonly jwt: string }

/** What a process of hosts says. Times are ms of the machine's monotonic clock, the same in every process. */
export type Word =
  | { readonly what: "ready" }
  | { readonly what: "made"; readonly hosts: ReadonlyArray<{ readonly hostId: HostId; readonly publicKey: string }> }
  | { readonly what: "joined" }
  | { readonly what: "heard"; readonly sequences: ReadonlyArray<number>; readonly atMs: ReadonlyArray<number> }
  | { readonly what: "failed"; readonly detail: string }

/** Now, by the clock that all processes of one machine share. */
export const sharedNowMs = (): number => Number(process.hrtime.bigint()) / 1e6
