import { assert, it } from "@effect/vitest"
import { readTable } from "../table.ts"
import { demandLines, makeDemand, readDemand } from "./demand.ts"
import { readCatalogue } from "./offers.ts"

const head = "provider,instance_type,gpu_name,gpu_count,gpu_mem_gib,vcpu,mem_gib,region,zone,price_usd_h,spot_usd_h\n"

it("a catalogue with holes is read as far as it makes sense, and says what it left out or guessed", () => {
  const { columns, guessed, leftOut } = readCatalogue(readTable(`${head}new,big,NVIDIA H100 80GB,8,,,,,,"$1,6.00",\nnew,free,L4,1,24,8,32,us,,0,0\n,x,L4,1,24,8,32,us,,1,\nnew,no-price,L4,1,24,8,32,us,,,\n` +
    "new,l4,L4,1,24,8,32,us,,0.5,0.2\nnew,l4,L4,1,24,8,32,us,,0.6,\nnew,other,L4,2,24,,,us,,1,\n"), undefined)
  assert.deepStrictEqual(columns.map(({ column: { machineType, market, offer, region }, resources: { cpuMilli, gpus } }) => [machineType, market, region, gpus, cpuMilli, offer]), [
    ["big", "on_demand", "*", 8, 32_000, undefined], ["l4", "on_demand", "us", 1, 8000, undefined], ["l4", "spot", "us", 1, 8000, undefined], ["l4", "on_demand", "us", 1, 8000, "offer-2"],
    // Nobody says what CPU it has: then the least that anybody gives with this GPU.
    ["other", "on_demand", "us", 2, 16_000, undefined]
  ])
  assert.deepStrictEqual([leftOut, guessed], [{ "prices of nothing": 2, "no provider": 1, "no price": 1 }, { vCPUs: 2, memory: 2 }])
  assert.strictEqual(columns[0]!.pricePicoPerSecond, BigInt(Math.round(16e12 / 3600)))
})

it("of a catalogue with all thirteen clouds these alone are read, of any other everybody", () => {
  const row = (provider: string) => `${provider},m,L4,1,24,8,32,us,,1,\n`
  const thirteen = ["aws", "gcp", "azure", "oci", "coreweave", "lambda", "runpod", "nebius", "vast", "crusoe", "hyperstack", "verda", "vultr"]
  const read = (providers: ReadonlyArray<string>, wanted?: "all") => readCatalogue(readTable(head + providers.map(row).join("")), wanted).providers.length
  assert.deepStrictEqual([read([...thirteen, "other"]), read([...thirteen, "other"], "all"), read(["aws", "other"])], [13, 14, 2])
})

it("demand is read alike from CSV, JSON lines and a JSON list, and what was made can be read again", () => {
  const csv = "id,units,gpus,gpu_models,gang,spot,regions\na,4,8,H100|H200,2,yes,us|eu\n,0,1,L4,,,\n"
  const item = { id: "a", units: 4, gpus: 8, gpu_models: ["H100", "H200"], gang: 2, spot: true, regions: ["us", "eu"] }
  const [fromCsv, fromLines, fromList] = [csv, JSON.stringify(item), JSON.stringify([item])].map((text) => readDemand(readTable(text)))
  assert.deepStrictEqual([fromLines!.classes, fromList!.classes], [fromCsv!.classes, fromCsv!.classes])
  assert.deepInclude(fromCsv!.classes[0], { id: "a", units: 4, gang: 2, spot: true, gpuModels: ["H100", "H200"], regions: ["us", "eu"] })
  assert.strictEqual(fromCsv!.leftOut, 1)
  assert.deepStrictEqual(readDemand(readTable("")).classes, [])
  const { columns } = readCatalogue(readTable(`${head}aws,m,L4,8,24,8,32,us,,1,0.5\naws,n,H100,8,80,8,32,us,,1,0.5\n`), undefined)
  const made = makeDemand(columns, 5, 12)
  assert.deepStrictEqual(readDemand(readTable(demandLines(made))).classes, made)
  assert.notDeepEqual(makeDemand(columns, 6, 12), made)
})
