import { assert, describe, it } from "vitest"
import { offersFor, planned, planText } from "./plan.ts"

const request = {
  resources: { cpuMilli: 4000, memoryMib: 8192, diskMib: 0, gpus: 1 }, argv: ["./train"], env: {}, labels: {}, attemptsMax: 1, runMsMax: 3_600_000, onSilence: { keepMs: 0 },
  gpu: [{ model: "H100" }, { memoryMibMin: 40_960 }]
}
const offer = (machineType: string, gpuModel: string, picoPerHour: bigint, more: object = {}) => ({
  provider: "lambda", machineType, regions: ["us-east-1"], gpuModel, gpus: 1, cpuMilli: 26_000, memoryMib: 200_000, pricePicoPerHour: String(picoPerHour), readAtMs: 0, market: "on_demand", zone: null, offer: null, ...more
})
const offers = [
  offer("gpu_1x_h100", "NVIDIA H100 80GB", 3_290_000_000_000n), offer("gpu_1x_a10", "A10", 750_000_000_000n), offer("gpu_1x_a100", "A100-80GB", 1_990_000_000_000n),
  offer("spot_h100", "H100", 1_000_000_000_000n, { market: "spot" }), offer("gone", "H100", 1n, { regions: [] }), offer("small", "H100", 1n, { cpuMilli: 1000 })
]
const prices = [
  { book: "standard/1", sku: "core", unit: "core_second", picoPerUnit: "10000000", dollarsPerHour: "0.036", billedMsMin: 0, billedStepMs: 1 },
  { book: "standard/1", sku: "gpu-nvidia-h100", unit: "gpu_second", picoPerUnit: "1097000000", dollarsPerHour: "3.95", billedMsMin: 0, billedStepMs: 1 }
]
const near = {
  hostId: "hst_a", state: "joined", takesWork: true, fits: false, fitsWhenEmpty: false, free: { cpuMilli: 1, memoryMib: 1, diskMib: 0, gpus: 0 }, short: { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 1 },
  lacks: ["1 GPU of H100, or any with 40 GiB"]
} as const
const nowhere = { verdict: "nowhere", sentence: "No host here would take it: the nearest, hst_a, lacks 1 GPU of H100, or any with 40 GiB.", roomNow: 0, hostsNow: 0, nearest: [near], changes: ["another host"], limits: [], cut: {} } as const

describe("a plan", () => {
  it("knows what could be rented for it, the cheapest first", () => {
    assert.deepStrictEqual(offersFor(request, offers).map(({ machineType }) => machineType), ["gpu_1x_a100", "gpu_1x_h100"])
    assert.deepStrictEqual(offersFor({ ...request, where: { spot: "tolerated" } }, offers).map(({ machineType }) => machineType), ["spot_h100", "gpu_1x_a100", "gpu_1x_h100"])
    assert.deepStrictEqual(offersFor({ ...request, where: { only: { residency: ["eu"] } } }, offers), [])
  })

  it("says now, later or never", () => {
    assert.strictEqual(planned(request, { ...nowhere, verdict: "now" }, prices, offers).verdict, "now")
    assert.strictEqual(planned(request, nowhere, prices, offers).verdict, "later")
    assert.strictEqual(planned(request, nowhere, prices, []).verdict, "never")
  })

  it("costs as many members as a gang has", () => {
    const gang = { members: 3, topology: "anywhere", onLoss: "restart" } as const
    assert.strictEqual(planned({ ...request, gang }, nowhere, prices, offers).price?.mostPico, String(3n * BigInt(planned(request, nowhere, prices, offers).price!.mostPico)))
  })

  it("wants one machine for all members of one host", () => {
    const gang = { members: 2, topology: "host", onLoss: "restart" } as const
    assert.deepStrictEqual(offersFor({ ...request, gang }, offers), [])
    assert.deepStrictEqual(offersFor({ ...request, gang }, [offer("gpu_2x_h100", "H100", 2n, { gpus: 2 })]).map(({ machineType }) => machineType), ["gpu_2x_h100"])
  })

  it("waits for a quota or for money, and is refused where there is never enough of either", () => {
    const now = { ...nowhere, verdict: "now", sentence: "At once.", roomNow: 1 } as const
    const account = (limitPico: bigint, availablePico: bigint, parent: string | null = null) =>
      ({ account: "acc_a", parent, limitPico: String(limitPico), committedPico: "0", lentPico: "0", availablePico: String(availablePico), dollars: { limit: "", committed: "", lent: "", available: "" }, openedBy: "user:ada", openedAtMs: 0, closesAtMs: null, exhausted: false })
    const plan = (limitPico: bigint, availablePico: bigint, parent?: string) => planned(request, now, prices, [], [account(limitPico, availablePico, parent ?? null)])
    assert.strictEqual(plan(10_000_000_000_000n, 10_000_000_000_000n).verdict, "now")
    assert.deepStrictEqual([plan(10_000_000_000_000n, 1_000_000_000_000n).verdict, plan(10_000_000_000_000n, 1_000_000_000_000n).sentence], ["later", "It would wait: acc_a has $1.00 left, and this needs $4.0932 at once."])
    assert.strictEqual(plan(1_000_000_000_000n, 1_000_000_000_000n).verdict, "never")
    assert.strictEqual(plan(1n, 1n, "acc_above").verdict, "now")
    const quota = (never: boolean) => planned(request, { ...now, verdict: never ? "nowhere" : "later", limits: [{ kind: "quota", never, sentence: "no more cores" }] }, prices, offers)
    assert.deepStrictEqual([quota(false).verdict, quota(true).verdict], ["later", "never"])
    assert.include(planText(quota(true)), "  quota: no more cores")
  })

  it("reads as it was reviewed", () =>
    assert.strictEqual(planText(planned(request, nowhere, prices, offers)).replace(/ +$/gmu, ""), `No host here would take it: the nearest, hst_a, lacks 1 GPU of H100, or any with 40 GiB. A machine that would do can be rented.
  at most $4.0932: 4 core for 3600 s = $0.144 + 1 gpu-nvidia-h100 for 3600 s = $3.9492 = $4.0932

Nearest to it:
HOST   STATE   FITS   LACKS
hst_a  joined  never  1 GPU of H100, or any with 40 GiB

Could be rented:
PROVIDER  TYPE         GPU               DOLLARS AN HOUR  REGIONS
lambda    gpu_1x_a100  A100-80GB         $1.99            us-east-1
lambda    gpu_1x_h100  NVIDIA H100 80GB  $3.29            us-east-1

What would change it:
  another host`))
})
