import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { contentBytes, heard, sent } from "../../domain/gang-frames.ts"
import { addressOfRank, deviceName, hardwareInWords, mtuBetweenHosts, mtuWhereItPasses, prefixBits } from "../../domain/gang-network.ts"
import { Allowance } from "./allowance.ts"
import { carriedTo } from "./carried.ts"
import { headOf, networkNamed, Opener, plainDatagram, plainPacket, question, Sealer, sessionOf } from "./datagram.ts"
import { framed, type PortHello, words } from "./switch-words.ts"
import { openTap, type Tap } from "./tap.ts"

/** What a port is to know. It stands in a file that the agent alone can read, for its key does too. */
export interface PortSettings {
  /** 32 bytes in base64url. */
  readonly key: string
  readonly rank: number
  readonly members: number
  /** Where each member's host takes datagrams, in the order of ranks. */
  readonly hosts: ReadonlyArray<string>
  /** The socket of this host's switch. */
  readonly switchSocket: string
  /** A folder with nothing in it. */
  readonly empty: string
  /** The file that tells how much it has carried. */
  readonly carried: string
  readonly bytesPerSecondMax: number
}

/** So much may wait for the switch; what comes then is dropped. */
const queueBytesMax = 1024 * 1024
const bytesAtOnceMax = 4 * 1024 * 1024
const againMs = 100
/** So long the other members' hosts are asked whether they can be reached, */
const reachMsMax = 8_000
/** and then no longer whether by more at once than every network takes. */
const wideMsMax = 500
const commandMsMax = 10_000
/** What is told of a network that could not be made; the sandbox was not begun. */
const notMade = 125

/**
 * Begins a sandbox in a network namespace that this process was started in, and is the way out of it: the other end of
 * its one device. It lives exactly as long as the sandbox, and ends as that ended; device and namespace go with it.
 */
export const runPort = (settingsFile: string, command: ReadonlyArray<string>): void => {
  const settings = JSON.parse(readFileSync(settingsFile, "utf8")) as PortSettings
  rmSync(settingsFile)
  const tap = made()
  let end = (): void => process.exit(notMade)
  for (const name of asked) process.on(name, () => end())
  carry(tap, settings, () => end(), (mtu) => {
    configured(settings, mtu)
    const child = begin(settings, command)
    // Who asks the sandbox to end asks its whole group; a device that is gone takes it along.
    for (const name of asked) process.removeAllListeners(name).on(name, () => undefined)
    end = () => void child.kill("SIGKILL")
  })
}

const begin = (settings: PortSettings, command: ReadonlyArray<string>): ChildProcess => {
  const child = spawn("unshare", ["--mount", "--propagation", "slave", "setpriv", "--pdeathsig", "KILL", "/bin/sh", "-c", behindMask, "sandbox", settings.empty, ...command], { stdio: "inherit" })
  child.once("error", (cause) => giveUp(cause))
  child.once("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? notMade)
    for (const name of asked) process.removeAllListeners(name)
    process.kill(process.pid, signal)
  })
  return child
}

const asked = ["SIGTERM", "SIGINT", "SIGHUP"] as const

/**
 * Releases of runsc take a namespace that has certain settings for the machine's own, and refuse it; newer kernels show
 * these settings everywhere. They are hidden from runsc alone.
 */
const behindMask = "mount --bind \"$1\" /proc/sys/net/core && shift && exec \"$@\""

const made = (): Tap => {
  try {
    const tap = openTap(deviceName)
    try {
      // Nothing but IPv4 is carried, so the device need not ask for neighbours of any other kind.
      writeFileSync(`/proc/sys/net/ipv6/conf/${deviceName}/disable_ipv6`, "1")
    } catch {
      // A kernel without IPv6.
    }
    return tap
  } catch (cause) {
    return giveUp(cause)
  }
}

const configured = ({ rank }: PortSettings, mtu: number): void => {
  try {
    execFileSync("ip", ["-batch", "-"], {
      input: [
        "link set lo up",
        `link set ${deviceName} address ${hardwareInWords(rank)} mtu ${mtu} up`,
        `addr add ${addressOfRank(rank)}/${prefixBits} dev ${deviceName}`,
        ""
      ].join("\n"),
      stdio: ["pipe", "ignore", "pipe"],
      timeout: commandMsMax
    })
  } catch (cause) {
    giveUp(cause)
  }
}

const giveUp = (cause: unknown): never => {
  console.error(`The gang's network could not be made: ${cause instanceof Error ? cause.message : String(cause)}`)
  process.exit(notMade)
}

/**
 * Brings what the sandbox sends to the switch, and what the switch hands on into the sandbox. It is begun when the hosts
 * of all other members were reached: a network that only seems to be one would cost the work all of its time.
 */
const carry = (tap: Tap, { bytesPerSecondMax, carried: carriedAt, hosts, key: keyText, members, rank, switchSocket }: PortSettings, gone: () => void, reachedAll: (mtu: number) => void): void => {
  const key = Buffer.from(keyText, "base64url")
  const network = networkNamed(key)
  const self = { rank, members }
  const sealer = new Sealer(key, sessionOf(Date.now(), randomBytes(8)))
  const opener = new Opener(key)
  const allowance = new Allowance({ perSecond: bytesPerSecondMax, atOnce: bytesAtOnceMax, atMs: performance.now() })
  const carried = carriedTo(carriedAt)
  const isHere = (other: number) => hosts[other] === hosts[rank]
  let line: Socket | undefined

  const hear = (datagram: Buffer) => {
    const head = headOf(datagram)
    if (head?.network !== network) return
    if ((head.kind === "answered" || head.kind === "answered wide") && head.from === rank) return reached(hosts[head.to], head.kind === "answered wide")
    if (head.to !== rank) return
    const packet = head.kind === "sealed" ? opener.open(datagram, head) : head.kind === "plain" && isHere(head.from) ? plainPacket(datagram) : undefined
    const frame = packet === undefined ? undefined : heard(packet, head.from, self)
    if (packet === undefined || frame === undefined) return
    carried(contentBytes(packet))
    tap.say(frame)
  }

  // What is sent while there is no switch is lost, as on any network: whoever sent it sends it again.
  const dial = () => {
    const socket = connect(switchSocket)
    socket.on("error", () => undefined)
    socket.once("close", () => {
      if (line === socket) line = undefined
      setTimeout(dial, againMs)
    })
    socket.once("connect", () => {
      socket.write(framed(Buffer.from(JSON.stringify({ kind: "port", network, rank, hosts } satisfies PortHello))))
      line = socket
      ask()
    })
    socket.on("data", words(hear))
  }
  const unreached = new Set(hosts.filter((host) => host !== hosts[rank]))
  const narrow = new Set(unreached)
  let settling: NodeJS.Timeout | undefined
  let hasBegun = false
  const begun = () => {
    if (hasBegun) return
    hasBegun = true
    for (const timer of [asking, late, settling]) clearTimeout(timer)
    reachedAll(narrow.size === 0 ? mtuWhereItPasses : mtuBetweenHosts)
  }
  const reached = (host: string | undefined, wide: boolean) => {
    if (host === undefined || hasBegun) return
    unreached.delete(host)
    if (wide) narrow.delete(host)
    if (narrow.size === 0) return begun()
    if (unreached.size === 0) settling ??= setTimeout(begun, wideMsMax)
  }
  const ask = () => {
    for (const host of narrow) {
      const head = { network, to: hosts.indexOf(host), from: rank }
      line?.write(framed(question(head, "asked", mtuBetweenHosts)))
      line?.write(framed(question(head, "asked wide", mtuWhereItPasses)))
    }
  }
  const asking = setInterval(ask, againMs)
  const late = setTimeout(() => giveUp(new Error(`the hosts of other members do not answer from here: ${[...unreached].join(", ")}. Let UDP pass between them, or ask for members that are nearer to each other`)), reachMsMax)
  if (narrow.size === 0) begun()
  dial()

  tap.listen((frame) => {
    const said = sent(frame, self)
    if (said === undefined) return
    if ("answer" in said) return tap.say(said.answer)
    if (line === undefined || line.writableLength > queueBytesMax || !allowance.takes(said.packet.length, performance.now())) return
    const head = { network, to: said.to, from: rank }
    carried(contentBytes(said.packet))
    line.write(framed(isHere(said.to) ? plainDatagram(head, said.packet) : sealer.seal(head, said.packet)))
  }, gone)
}
