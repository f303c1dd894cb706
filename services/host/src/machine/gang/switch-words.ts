/** How a member's port and the host's switch speak: over a unix socket, each word with its length before it. */

/** What a port says first. Numbers and addresses are those of the placement. */
export interface PortHello {
  readonly kind: "port"
  /** Its network, as datagrams name it. */
  readonly network: string
  readonly rank: number
  /** Where each member's host takes datagrams, in the order of ranks. */
  readonly hosts: ReadonlyArray<string>
}

/** What an agent says first. It is answered, and its line kept open: a switch that nobody needs ends. */
export interface AgentHello {
  readonly kind: "agent"
  /** Where the switch is to take datagrams of other hosts. Without it none do. */
  readonly address?: string
}

/** What an agent is answered. */
export interface SwitchHere {
  readonly kind: "here"
  readonly pid: number
  /** As `address:port`. Undefined: it serves this host alone. */
  readonly at?: string
  /** Why it does not serve at the address that was asked for. */
  readonly why?: string
}

/** Names of what lies in the switch's folder. */
export const switchFiles = { socket: "switch.sock", port: "udp-port", identity: "switch.json" } as const

const lengthBytes = 2
/** The longest word, and so the longest datagram. */
export const wordBytesMax = 65_535

/** A word as it is sent. */
export const framed = (word: Uint8Array): Buffer => {
  const whole = Buffer.allocUnsafe(lengthBytes + word.length)
  whole.writeUInt16BE(word.length, 0)
  whole.set(word, lengthBytes)
  return whole
}

/** Cuts a stream of bytes into words. A word is the reader's for as long as it is being told. */
export const words = (word: (bytes: Buffer) => void) => {
  let held: Buffer = Buffer.alloc(0)
  return (chunk: Buffer): void => {
    let bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    while (bytes.length >= lengthBytes && bytes.length >= lengthBytes + bytes.readUInt16BE(0)) {
      const end = lengthBytes + bytes.readUInt16BE(0)
      word(bytes.subarray(lengthBytes, end))
      bytes = bytes.subarray(end)
    }
    held = bytes
  }
}
