import type { Billing, Machine } from "./books.ts"
import type { Site } from "./site.ts"

/** One HTTP request as it came. */
export interface Request {
  readonly method: string
  /** Without the query. */
  readonly path: string
  /** Path and query as they were sent, for those who sign them. */
  readonly url: string
  readonly query: URLSearchParams
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly atMs: number
}

/** What a cloud answers. `cut`: it has done what was asked, and the connection breaks. */
export interface Answer {
  readonly status: number
  /** Sent as JSON unless it is a text. */
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly cut?: boolean
  /** Instead of a body: an answer that goes on. Called once; what it returns is called when the reader has gone. */
  readonly stream?: (out: Out) => () => void
}

export interface Out {
  readonly write: (text: string) => void
  readonly end: () => void
}

/** One vendor's protocol, over a site. Requests under `/sky/` never reach it. */
export interface CloudRoom {
  readonly answer: (request: Request) => Answer
  /** What was made for machines, by kind and name, and is there although its machine is not: keys, scripts, disks, addresses, pools. */
  readonly left: ReadonlyArray<string>
  /** What time brings about there besides what it does at every site. */
  readonly settle?: (atMs: number) => void
  /** How a machine is taken back there, where that is not its end. */
  readonly reclaim?: (machine: Machine, how: { readonly atMs: number; readonly noticeMs: number }) => void
}

/** A cloud to run: how it bills, and its room, once it has a site to stand on. */
export interface Cloud<Room extends CloudRoom> {
  readonly billing: Billing
  readonly bootMs?: number
  readonly endMs?: number
  /** What its endpoint shows, where its clients speak to no server without a certificate, and who signed that. PEM. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: string }
  readonly open: (site: Site) => Room
}
