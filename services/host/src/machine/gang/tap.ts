import koffi from "koffi"

/** How many frames are read before others have their turn. */
const framesAtOnce = 64
const frameBytesMax = 65_536
const waitMsMax = 1_000

/** Numbers of Linux: asm-generic/fcntl.h, linux/if_tun.h, asm-generic/poll.h. */
const linux = { readWrite: 0o2, nonBlocking: 0o4000, closeOnExec: 0o2000000, setInterface: 0x400454ca, tap: 0x0002, noPacketInfo: 0x1000, readable: 0x0001 } as const
const interfaceBytes = 40
const nameBytesMax = 15

/** A network device whose other end is this program: it hears each frame that is sent there, and says what is heard there. */
export interface Tap {
  /** Tells of each frame until the device is gone, and then of that. The bytes are the reader's for as long as it is being told. */
  readonly listen: (frame: (bytes: Uint8Array) => void, gone: (why: string) => void) => void
  /** A device that is down, or gone, loses it. */
  readonly say: (frame: Uint8Array) => void
}

/** The device could not be made. */
export class NoTap extends Error {}

const bound = () => {
  // What Node itself is linked with, whichever library of C that is.
  const libc = koffi.load(null)
  return {
    open: libc.func("int open(const char *path, int flags)"),
    ioctl: libc.func("int ioctl(int fd, unsigned long request, void *argument)"),
    read: libc.func("long read(int fd, void *into, unsigned long bytes)"),
    write: libc.func("long write(int fd, const void *from, unsigned long bytes)"),
    poll: libc.func("int poll(void *files, unsigned long count, int waitMs)")
  }
}

/** Makes an Ethernet device in the network namespace of this process. It is gone with the process. */
export const openTap = (name: string): Tap => {
  if (Buffer.byteLength(name) > nameBytesMax) throw new NoTap(`${name} is no name for a device: it has more than ${nameBytesMax} bytes`)
  const libc = bound()
  const file = libc.open("/dev/net/tun", linux.readWrite | linux.nonBlocking | linux.closeOnExec)
  if (file < 0) throw new NoTap(`/dev/net/tun cannot be opened (errno ${koffi.errno()})`)
  const wanted = Buffer.alloc(interfaceBytes)
  wanted.write(name, "latin1")
  wanted.writeUInt16LE(linux.tap | linux.noPacketInfo, nameBytesMax + 1)
  if (libc.ioctl(file, linux.setInterface, wanted) < 0) throw new NoTap(`the device ${name} cannot be made (errno ${koffi.errno()})`)
  return {
    say: (frame) => void libc.write(file, frame, frame.length),
    listen: (frame, gone) => {
      const into = Buffer.allocUnsafe(frameBytesMax)
      const files = Buffer.alloc(8)
      const wait = () => {
        files.writeInt32LE(file, 0)
        files.writeInt16LE(linux.readable, 4)
        files.writeInt16LE(0, 6)
        libc.poll.async(files, 1, waitMsMax, (failed: Error | null) => {
          if (failed !== null) return gone(failed.message)
          const events = files.readInt16LE(6)
          if ((events & ~linux.readable) !== 0) return gone(`poll says ${events}`)
          drain()
        })
      }
      const drain = () => {
        for (let read = 0; read < framesAtOnce; read += 1) {
          const bytes = Number(libc.read(file, into, into.length))
          if (bytes <= 0) return wait()
          frame(into.subarray(0, bytes))
        }
        setImmediate(drain)
      }
      wait()
    }
  }
}
