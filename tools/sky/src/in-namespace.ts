/**
 * Stands at a machine's beginning inside of a network namespace of its own, in which there is nothing but itself:
 *
 *   node in-namespace.ts MAIN DOORS PORT...
 *
 * What connects to one of the ports on its loopback comes out of the socket of that name in the folder of doors, which
 * lies outside; everything else leads nowhere. Then it is the program MAIN.
 */
import { connect, createServer } from "node:net"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const [main = "", doors = "", ...ports] = process.argv.slice(2)

await Promise.all(ports.map((port) => new Promise<void>((resolve, reject) => {
  createServer((inside) => {
    const outside = connect(join(doors, port))
    for (const [one, other] of [[inside, outside], [outside, inside]] as const) one.once("error", () => other.destroy()).once("close", () => other.destroy())
    inside.pipe(outside).pipe(inside)
  }).once("error", reject).listen(Number(port), "127.0.0.1", resolve)
})))
process.argv.splice(1, process.argv.length, main)
await import(pathToFileURL(main).href)
