import { createSocket, type RemoteInfo, type Socket as Datagrams } from "node:dgram"
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server, type Socket } from "node:net"
import { noteIdentity } from "../detached.ts"
import { answerTo, headOf } from "./datagram.ts"
import { type AgentHello, framed, type PortHello, switchFiles, type SwitchHere, words } from "./switch-words.ts"

/** So much may wait for a reader that is slow, or for the network; what comes then is dropped, as networks do. */
const queueBytesMax = 1024 * 1024
/** Without a port and an agent for this long the switch ends: whoever needs one starts one. */
const idleMsMax = 1_000
const helloMsMax = 5_000
const portsMax = 4_096
/** Of UDP. */
const portMax = 65_535
const udpBufferBytes = 4 * 1024 * 1024

interface Port {
  readonly socket: Socket
  readonly hello: PortHello
}

/**
 * The switch of one host: it brings datagrams from one member's port to another's, and over UDP to the switches of
 * other hosts. It knows no key: what comes from other hosts it hands, by network and rank, to the port that can open it.
 * All that it knows it hears from the ports themselves, so one that was started anew knows it again.
 */
export class SwitchProcess {
  readonly #ports = new Map<string, Port>()
  readonly #lines = new Set<Socket>()
  readonly #server: Server
  #udp: Datagrams | undefined
  #asked: string | undefined
  #here: Pick<SwitchHere, "at" | "why"> = {}
  #opening: Promise<void> = Promise.resolve()
  #idle: NodeJS.Timeout | undefined

  /** Listens in the working folder of this process. */
  constructor() {
    this.#server = createServer((socket) => this.#serve(socket))
  }

  async open(): Promise<void> {
    mkdirSync(".", { recursive: true, mode: 0o700 })
    rmSync(switchFiles.socket, { force: true })
    const before = process.umask(0o177)
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject)
      this.#server.listen(switchFiles.socket, resolve)
    })
    process.umask(before)
    noteIdentity(switchFiles.identity)
    this.#restWhenIdle()
  }

  end(): never {
    for (const file of [switchFiles.socket, switchFiles.identity]) rmSync(file, { force: true })
    process.exit(0)
  }

  #serve(socket: Socket): void {
    this.#lines.add(socket)
    clearTimeout(this.#idle)
    socket.on("error", () => undefined)
    let port: Port | undefined
    let greeted = false
    const late = setTimeout(() => socket.destroy(), helloMsMax)
    socket.once("close", () => {
      clearTimeout(late)
      this.#lines.delete(socket)
      if (port !== undefined && this.#ports.get(keyOf(port.hello)) === port) this.#ports.delete(keyOf(port.hello))
      this.#restWhenIdle()
    })
    socket.on("data", words((word) => {
      if (greeted) return port === undefined ? undefined : this.#carry(port, word)
      greeted = true
      clearTimeout(late)
      const hello = readHello(word)
      if (hello === undefined || this.#ports.size >= portsMax) return void socket.destroy()
      if (hello.kind === "agent") return void this.#answer(socket, hello)
      port = { socket, hello }
      // A port that comes again has lost its line: the older one is dead, whether that was seen or not.
      this.#ports.get(keyOf(hello))?.socket.destroy()
      this.#ports.set(keyOf(hello), port)
    }))
  }

  async #answer(socket: Socket, { address }: AgentHello): Promise<void> {
    this.#opening = this.#opening.then(() => this.#listenAt(address))
    await this.#opening
    const here: SwitchHere = { kind: "here", pid: process.pid, ...this.#here }
    if (socket.writable) socket.write(framed(Buffer.from(JSON.stringify(here))))
  }

  /** Takes datagrams at this address, at the port that it had before where that is free: placements that were made name it. */
  async #listenAt(address: string | undefined): Promise<void> {
    if (this.#asked === address && this.#here.why === undefined) return
    this.#udp?.close()
    this.#udp = undefined
    this.#asked = address
    this.#here = {}
    if (address === undefined) return
    const { host, port } = partsOf(address)
    const ports = port === undefined ? [portBefore(), 0] : [port]
    // An address that others reach it at need not be one of its own: then it takes what arrives at any.
    const places = [host, host.includes(":") ? "::" : "0.0.0.0"].flatMap((on) => ports.map((number) => ({ on, number })))
    let why = ""
    for (const place of places) {
      const bound = await boundAt(place)
      if (typeof bound !== "string") return this.#take(bound, host)
      why = bound
    }
    this.#here = { why }
  }

  #take(udp: Datagrams, host: string): void {
    const { port } = udp.address()
    udp.on("error", (cause) => console.error(`datagrams of other hosts: ${cause.message}`))
    udp.on("message", (datagram, from) => this.#arrived(datagram, from))
    this.#udp = udp
    this.#here = { at: atOf(host, port) }
    keepPort(port)
  }

  /** What a member sends: to a port of this host, or to the other member's host. What is plain does not leave the host. */
  #carry({ hello: { hosts, network, rank } }: Port, datagram: Buffer): void {
    const head = headOf(datagram)
    if (head === undefined || head.network !== network || head.from !== rank) return
    const here = this.#ports.get(keyOf({ network, rank: head.to }))
    if (here !== undefined) return this.#hand(here, datagram)
    const at = hosts[head.to]
    if (head.kind === "plain" || at === undefined || at === hosts[rank] || this.#udp === undefined) return
    const { host, port } = partsOf(at)
    if (this.#udp.getSendQueueSize() <= queueBytesMax) this.#send(datagram, port, host)
  }

  /** What names no port, as nobody's word need be true, goes nowhere: sent there it would end this process, and with it the network of every gang here. */
  #send(datagram: Buffer, port: number | undefined, host: string): void {
    if (port !== undefined && port > 0 && port <= portMax) this.#udp?.send(datagram, port, host, () => undefined)
  }

  #arrived(datagram: Buffer, { address, port }: RemoteInfo): void {
    const head = headOf(datagram)
    if (head === undefined || head.kind === "plain") return
    const answer = answerTo(head)
    if (answer !== undefined) return this.#send(answer, port, address)
    const rank = head.kind === "sealed" ? head.to : head.from
    const here = this.#ports.get(keyOf({ network: head.network, rank }))
    if (here !== undefined) this.#hand(here, datagram)
  }

  #hand({ socket }: Port, datagram: Buffer): void {
    if (socket.writableLength <= queueBytesMax) socket.write(framed(datagram))
  }

  #restWhenIdle(): void {
    clearTimeout(this.#idle)
    if (this.#lines.size === 0) this.#idle = setTimeout(() => this.end(), idleMsMax)
  }
}

const boundAt = ({ number, on }: { readonly on: string; readonly number: number }): Promise<Datagrams | string> =>
  new Promise((resolve) => {
    const udp = createSocket({ type: on.includes(":") ? "udp6" : "udp4", recvBufferSize: udpBufferBytes, sendBufferSize: udpBufferBytes })
    udp.once("error", (cause) => {
      udp.close()
      resolve(cause.message)
    })
    udp.bind(number, on, () => resolve(udp.removeAllListeners("error")))
  })

const keyOf = ({ network, rank }: Pick<PortHello, "network" | "rank">): string => `${network}/${rank}`

const readHello = (word: Buffer): PortHello | AgentHello | undefined => {
  try {
    const hello = JSON.parse(word.toString("utf8")) as PortHello | AgentHello
    return hello.kind === "agent" || (hello.kind === "port" && typeof hello.network === "string" && Number.isInteger(hello.rank) && Array.isArray(hello.hosts)) ? hello : undefined
  } catch {
    return undefined
  }
}

/** `10.0.0.5`, `10.0.0.5:4500` or `[fd00::1]:4500`. */
export const partsOf = (address: string): { readonly host: string; readonly port: number | undefined } => {
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/u.exec(address) ?? []
  return { host: six ?? four ?? address, port: port === undefined ? undefined : Number(port) }
}

const atOf = (host: string, port: number): string => host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

const portBefore = (): number => {
  try {
    return Number(readFileSync(switchFiles.port, "utf8")) || 0
  } catch {
    return 0
  }
}

const keepPort = (port: number): void => {
  writeFileSync(`${switchFiles.port}.next`, String(port), { mode: 0o600 })
  renameSync(`${switchFiles.port}.next`, switchFiles.port)
}
