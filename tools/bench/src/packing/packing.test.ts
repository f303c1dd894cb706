import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { bench } from "./packing.ts"

const nodes = ["sn,cpu_milli,memory_mib,gpu,model", "n-2,32000,131072,2,P100", "n-1,96000,393216,8,G2", "n-3,96000,393216,0,"].join("\n")
const pods = [
  "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos",
  "p-1,8000,30517,1,470,,LS", "p-2,11400,48128,1,1000,,LS", "p-3,4000,16384,1,1000,P100|V100,LS", "p-4,32000,49152,0,0,,BE", "p-5,16000,65536,2,1000,G2,LS"
].join("\n")

interface Line {
  readonly i: number
  readonly node: string | null
  readonly gpus?: ReadonlyArray<number>
}

const within = Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-packing-"))), (folder) => Effect.sync(() => rmSync(folder, { recursive: true })))

const ran = (options: Partial<Parameters<typeof bench>[0]["packing"]>) =>
  bench({ packing: { nodes: undefined, arrivals: undefined, pods: undefined, placements: undefined, seeds: [42], ...options }, say: () => {} } as unknown as Parameters<typeof bench>[0])

it.effect("says where each arrival went, within what each host has, for a pod list and for the same arrivals as lines", () =>
  Effect.gen(function*() {
    const folder = yield* within
    const path = (name: string) => join(folder, name)
    writeFileSync(path("nodes.csv.gz"), gzipSync(nodes))
    writeFileSync(path("pods.csv"), pods)
    const figures = yield* ran({ nodes: path("nodes.csv.gz"), pods: path("pods.csv"), placements: path("out.jsonl") })
    const lines = readFileSync(path("out.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line) as Line)
    assert.deepStrictEqual(lines.map(({ i }) => i), lines.map((_, at) => at))
    assert.strictEqual(figures.gpus, 10)
    assert.isAbove(figures.arrivals[0]!, 10)
    assert.isTrue(lines.some(({ node }) => node === null), "more was asked for than there is, so something went nowhere")
    for (const { gpus, node } of lines) if (node !== null) assert.isTrue(gpus !== undefined && new Set(gpus).size === gpus.length && gpus.every((gpu) => gpu >= 0 && gpu < (node === "n-1" ? 8 : 2)))
    for (const { allocationPercent } of [figures.ours, figures.fgd, figures.firstFit]) assert.isTrue(allocationPercent > 50 && allocationPercent <= 100)
  }))

it.effect("takes arrivals one JSON a line, in their order, and keeps their models and parts", () =>
  Effect.gen(function*() {
    const folder = yield* within
    const path = (name: string) => join(folder, name)
    writeFileSync(path("nodes.csv"), nodes)
    const asked = [
      { i: 0, name: "a", cpu_milli: 1000, memory_mib: 1024, num_gpu: 2, gpu_milli: 1000, gpu_spec: "P100" },
      { i: 1, name: "b", cpu_milli: 1000, memory_mib: 1024, num_gpu: 1, gpu_milli: 300, gpu_spec: "P100" },
      { i: 2, name: "c", cpu_milli: 1000, memory_mib: 1024, num_gpu: 1, gpu_milli: 300, gpu_spec: "G2|P100" },
      { i: 3, name: "d", cpu_milli: 1000, memory_mib: 1024, num_gpu: 1, gpu_milli: 700, gpu_spec: "" },
      { i: 4, name: "e", cpu_milli: 200000, memory_mib: 1024, num_gpu: 0, gpu_milli: 0, gpu_spec: "" }
    ]
    writeFileSync(path("arrivals.jsonl"), asked.map((one) => JSON.stringify(one)).join("\n"))
    yield* ran({ nodes: path("nodes.csv"), arrivals: path("arrivals.jsonl"), placements: path("out.jsonl") })
    assert.deepStrictEqual(readFileSync(path("out.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line) as Line), [
      { i: 0, node: "n-2", gpus: [0, 1] },
      { i: 1, node: null },
      { i: 2, node: "n-1", gpus: [0] },
      { i: 3, node: "n-1", gpus: [0] },
      { i: 4, node: null }
    ])
  }))
