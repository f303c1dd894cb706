import { assert, describe, it } from "@effect/vitest"
import type { BlobRef, HostJoined, JobSpec, MillFact } from "@millrace/schemas"
import { admitted, type Cell, enrolled, exited, given, host, joined, needs, submitted } from "../testing/cell.ts"
import { scheduler } from "./scheduler.ts"

const h100 = { model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 }
const a100 = { model: "NVIDIA A100-SXM4-80GB", memoryMib: 81_920 }
const t4 = { model: "Tesla T4", memoryMib: 15_360 }

/** A host with so many GPUs of one model, numbered from 0 unless said. */
const gpuHost = (name: string, gpu: typeof h100, count = 4, { dialect = 3, labels = {}, numbers }: { readonly dialect?: number; readonly labels?: Record<string, string>; readonly numbers?: ReadonlyArray<number> } = {}): ReadonlyArray<MillFact> => {
  const plain = joined(name, { ...needs(64_000, 64_000), gpus: count }) as HostJoined
  const gpus = (numbers ?? Array.from({ length: count }, (_, index) => index)).map((index) => ({ ...gpu, index }))
  return [admitted(name), { ...plain, dialect, capabilities: { ...plain.capabilities, gpus, labels } }]
}

const asks = (name: string, wanted: { readonly gpus?: number; readonly gpuMilli?: number }, terms: Partial<Pick<JobSpec, "gpu" | "where" | "reads" | "startFrom">> = {}): MillFact => {
  const fact = submitted(name, { resources: { ...needs(1000), gpus: 0, ...wanted } }) as Extract<MillFact, { _tag: "JobSubmitted" }>
  return { ...fact, spec: { ...fact.spec, dialect: 3, ...terms } }
}

const where = (cell: Cell, name: string) => {
  const made = cell.placed(name)
  return made === undefined ? undefined : [made.hostId, ...made.gpus ?? []]
}

const told = (cell: Cell) => cell.said("JobDeferred").at(-1)?.arithmetic

/** A lease of the same name becomes this host. */
const rented = (name: string, market: "on_demand" | "spot", region: string, provider = "sky"): ReadonlyArray<MillFact> => {
  const { leaseId } = enrolled(name)
  return [
    { _tag: "LeaseRequested", leaseId, provider: provider as never, column: { region, machineType: "m", market }, resources: needs(1, 1), pricePicoPerSecondMax: 1n, token: "t", cell: "c", oneTimeKeyDigest: `sha256:${"0".repeat(64)}` as never, answerByMs: 1 },
    { ...enrolled(name), provider: provider as never }
  ]
}

describe("GPUs", () => {
  it("are given by their numbers, and each is given once", () => {
    const cell = given(...gpuHost("a", h100, 4, { numbers: [0, 2, 4, 6] }), asks("j1", { gpus: 2 }), asks("j2", { gpus: 2 }), asks("j3", { gpus: 1 }))
    cell.rest()
    const both = [...cell.placed("j1").gpus!, ...cell.placed("j2").gpus!]
    assert.deepStrictEqual([...both].sort(), [0, 2, 4, 6])
    assert.deepStrictEqual(cell.placed("j1").warrant.gpus, cell.placed("j1").gpus)
    assert.isUndefined(cell.placed("j3"))
    cell.hear(exited(cell.placed("j2"))).rest(1)
    assert.deepStrictEqual(where(cell, "j3"), [host("a"), cell.placed("j2").gpus![0]])
  })

  it("are shared by parts, as far as one device goes", () => {
    const cell = given(...gpuHost("a", t4, 2), ...["j1", "j2", "j3"].map((name) => asks(name, { gpuMilli: 600 })))
    cell.rest()
    assert.notStrictEqual(cell.placed("j1").gpus![0], cell.placed("j2").gpus![0])
    assert.isUndefined(cell.placed("j3"))
    cell.hear(asks("j4", { gpuMilli: 400 })).rest(1)
    assert.lengthOf(cell.placed("j4").gpus!, 1)
    cell.hear(exited(cell.placed("j1"))).rest(2)
    assert.deepStrictEqual(cell.placed("j3").gpus, cell.placed("j1").gpus)
  })

  it("are taken in the order of wishes, a later kind only where there is none of an earlier", () => {
    const gpu = [{ model: "H100" }, { model: "A100-80GB" }, { memoryMibMin: 40_960 }]
    const cell = given(...gpuHost("a", t4, 4), ...gpuHost("b", a100, 1), ...gpuHost("c", h100, 1), asks("j1", { gpus: 1 }, { gpu }), asks("j2", { gpus: 1 }, { gpu }), asks("j3", { gpus: 1 }, { gpu }))
    cell.rest()
    assert.deepStrictEqual([where(cell, "j1"), where(cell, "j2"), where(cell, "j3")], [[host("c"), 0], [host("b"), 0], undefined])
    assert.include(cell.placed("j2").reason, "its choice 2 of 3 kinds of GPU")
    cell.hear(asks("j4", { gpus: 1 }, { gpu: [{ model: "B200" }] })).rest(1)
    assert.include(told(cell)!, "offers 1 GPU of B200")
  })

  it("are given by no agent that cannot tell devices apart, whatever the job says", () => {
    const job = asks("j1", { gpus: 1 }) as Extract<MillFact, { _tag: "JobSubmitted" }>
    const { dialect: _, ...spec } = job.spec
    const cell = given(...gpuHost("a", h100, 4, { dialect: 2 }), { ...job, spec })
    cell.rest()
    assert.isUndefined(cell.placed("j1"))
    assert.include(told(cell)!, "understands dialect 3")
  })

  it("under suspicion take nothing new until they are cleared, and what runs there goes on", () => {
    const suspected = (gpu: number): MillFact => ({ _tag: "GpuSuspected", hostId: host("a"), gpu, symptom: "Xid 79" })
    const cell = given(...gpuHost("a", h100, 2), suspected(0), asks("j1", { gpus: 1 }), asks("j2", { gpus: 1 }))
    cell.rest()
    assert.deepStrictEqual([where(cell, "j1"), where(cell, "j2")], [[host("a"), 1], undefined])
    cell.hear({ _tag: "GpuCleared", hostId: host("a"), gpu: 0, test: "dcgm 3" }).rest(1)
    assert.deepStrictEqual(where(cell, "j2"), [host("a"), 0])
  })

  it("are put in quarantine no further than a tenth of all, the first suspected first", () => {
    const cell = given(...gpuHost("a", h100, 16), ...gpuHost("b", h100, 8))
    for (const gpu of [5, 3, 1, 0]) cell.hear({ _tag: "GpuSuspected", hostId: host("a"), gpu, symptom: "slow" })
    assert.deepStrictEqual(cell.world.hosts.get(host("a"))!.quarantined, new Set([5, 3]))
    cell.hear({ _tag: "GpuCleared", hostId: host("a"), gpu: 5, test: "again" })
    assert.deepStrictEqual(cell.world.hosts.get(host("a"))!.quarantined, new Set([3, 1]))
    const again = scheduler.load(structuredClone(scheduler.save(cell.world)) as never)
    assert.deepStrictEqual(again.hosts.get(host("a"))!.quarantined, new Set([3, 1]))
  })
})

describe("places", () => {
  it("that are asked for are kept to, and wishes are met where there is room", () => {
    const at = (region: string) => ({ labels: { region, provider: "own" } })
    const cell = given(...gpuHost("a", h100, 1, at("us-east-1")), ...gpuHost("b", h100, 1, at("eu-west-1")), ...gpuHost("c", h100, 1, at("eu-central-1")),
      asks("j1", {}, { where: { only: { residency: ["eu"] }, rather: { regions: ["eu-central-1"] } } }),
      asks("j2", {}, { where: { only: { regions: ["eu-west-1"], providers: ["own"] } } }),
      asks("j3", {}, { where: { only: { providers: ["aws"] } } }))
    cell.rest()
    assert.deepStrictEqual([where(cell, "j1"), where(cell, "j2"), where(cell, "j3")], [[host("c")], [host("b")], undefined])
    assert.include(told(cell)!, "provider aws")
  })

  it("are what the broker says of a rented machine, not what its host says of itself", () => {
    const cell = given(...gpuHost("a", h100, 1, { labels: { region: "eu-west-1", residency: "eu" } }), ...rented("a", "on_demand", "us-east-1"), asks("j1", {}, { where: { only: { residency: ["eu"] } } }), asks("j2", {}, { where: { only: { residency: ["us"] } } }))
    cell.rest()
    assert.deepStrictEqual([where(cell, "j1"), where(cell, "j2")], [undefined, [host("a")]])
  })

  it("that can be taken back are only for work that tolerates it", () => {
    const cell = given(...gpuHost("a", h100, 1), ...rented("a", "spot", "eu-west-1"), asks("j1", {}), asks("j2", {}, { where: { spot: "tolerated" } }))
    cell.rest()
    assert.deepStrictEqual([where(cell, "j1"), where(cell, "j2")], [undefined, [host("a")]])
    cell.hear(...gpuHost("b", h100, 1), asks("j3", {}, { where: { spot: "rather" } })).rest(1)
    assert.deepStrictEqual([where(cell, "j1"), where(cell, "j3")], [[host("b")], [host("a")]])
  })

  it("that hold what a job reads begin it sooner", () => {
    const blob = { digest: `sha256:${"a".repeat(64)}` as never, sizeBytes: 40 * 2 ** 30 }
    const cell = given(...gpuHost("a", h100, 1), ...gpuHost("b", h100, 1), { _tag: "StateResident", hostId: host("b"), snapshots: [], images: [], blobs: [blob.digest] }, asks("j1", { gpuMilli: 100 }, { reads: { blobs: [blob] } }))
    cell.rest()
    assert.strictEqual(cell.placed("j1").hostId, host("b"))
    cell.hear({ _tag: "StateResident", hostId: host("b"), snapshots: [], images: [], blobs: [] }, { _tag: "StateResident", hostId: host("a"), snapshots: [], images: [], blobs: [blob.digest] }, asks("j2", { gpuMilli: 100 }, { reads: { blobs: [blob] } })).rest(1)
    assert.strictEqual(cell.placed("j2").hostId, host("a"))
  })

  it("that load the rest of it faster begin it sooner, as they have measured; who joins anew holds nothing until it says so", () => {
    const [one, two] = ["1", "2"].map((name) => ({ digest: `sha256:${name.repeat(64)}` as never, sizeBytes: 40 * 2 ** 30 })) as unknown as readonly [BlobRef, BlobRef]
    const holds = (name: string, blob: BlobRef, loadBytesPerMs: number): MillFact => ({ _tag: "StateResident", hostId: host(name), snapshots: [], images: [], blobs: [blob.digest], loadBytesPerMs })
    const reads = { reads: { blobs: [one, two] } }
    const [a, b] = [gpuHost("a", h100, 1), gpuHost("b", h100, 1)]
    const cell = given(...a, ...b, holds("a", one, 100_000), holds("b", two, 400_000), asks("j1", { gpuMilli: 100 }, reads))
    cell.rest()
    assert.strictEqual(cell.placed("j1").hostId, host("b"))
    cell.hear(holds("a", one, 800_000), asks("j2", { gpuMilli: 100 }, reads)).rest(1)
    assert.strictEqual(cell.placed("j2").hostId, host("a"))
    assert.strictEqual(scheduler.load(structuredClone(scheduler.save(cell.world)) as never).index.loading.bytesPerMs, 1_200_000)
    cell.hear(a.find(({ _tag }) => _tag === "HostJoined")!, asks("j3", { gpuMilli: 100 }, reads)).rest(2)
    assert.strictEqual(cell.placed("j3").hostId, host("b"))
  })
})

describe("what can never be", () => {
  const offers = (provider: string, rows?: ReadonlyArray<readonly [string, number]>): MillFact => ({
    _tag: "OffersObserved", provider: provider as never, observedAtMs: 0, offers: { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 1 }, count: 1, source: "s",
    ...(rows === undefined ? {} : { rows: rows.map(([gpuModel, gpus]) => ({ machineType: "m", market: "on_demand", resources: { ...needs(30_000, 60_000), gpus }, gpuModel, pricePicoPerSecond: 1n, regions: [] })) })
  })
  const refused = (cell: Cell) => cell.rest() && cell.said("JobRefused").map(({ reason, remedy }) => [reason, remedy])

  it("is refused at once with what would be possible, once it is known what is for rent", () => {
    const cell = given(...gpuHost("a", t4, 4), offers("sky", [["H100", 8], ["A10", 1]]), asks("j1", { gpus: 8 }, { gpu: [{ model: "B200" }] }), asks("j2", { gpus: 8 }, { gpu: [{ model: "H100" }] }))
    assert.deepStrictEqual(refused(cell), [["never_fits", "no machine that is here or for rent has 1 core, 100 MiB, 8 GPUs of B200; one machine has at most 8 H100, 4 Tesla T4, 1 A10"]])
    const again = scheduler.load(structuredClone(scheduler.save(cell.world)) as never)
    assert.deepStrictEqual(scheduler.save(again), scheduler.save(cell.world))
  })

  it("waits where somebody may still bring such a machine", () => {
    assert.isEmpty(refused(given(...gpuHost("a", t4, 4), asks("j1", { gpus: 8 }))))
    assert.isEmpty(refused(given(...gpuHost("a", t4, 4), offers("sky", [["A10", 1]]), offers("other"), asks("j1", { gpus: 8 }))))
    assert.isEmpty(refused(given(...gpuHost("a", h100, 8), { _tag: "HostLeft", hostId: host("a"), cause: "asked" }, offers("sky", [["A10", 1]]), asks("j1", { gpus: 8 }))))
  })
})

describe("demand", () => {
  it("says what kinds of GPU and places would do", () => {
    const gpu = [{ model: "H100" }, { memoryMibMin: 40_960 }]
    const cell = given(asks("j1", { gpus: 2 }, { gpu, where: { only: { residency: ["eu"] }, spot: "tolerated" } }), asks("j2", { gpuMilli: 500 }))
    cell.rest(2_000)
    const classes = cell.said("DemandChanged").at(-1)!.classes
    assert.deepInclude(classes.find(({ gpus }) => gpus === 2), { gpu, gpuModels: ["H100"], where: { only: { residency: ["eu"] }, spot: "tolerated" }, waiting: 1, own: true })
    assert.deepInclude(classes.find(({ gpuMilli }) => gpuMilli === 500), { gpus: 0, gpuModels: [], waiting: 1 })
  })
})
