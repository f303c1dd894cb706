import { Column, Count, Mebibytes, PicoDollars, ProviderName, RentalQuota, Resources } from "@millrace/schemas"
import { Effect, Schema } from "effect"

const orEmpty = <S extends Schema.Top>(item: S) => Schema.Array(item).pipe(Schema.withDecodingDefaultKey(Effect.succeed([])))
const orZero = Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0)))
const orNo = Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false)))

/** Something that can be bought, or runs already: what it is, what it costs, and how many there are. */
export const Buyable = Schema.Struct({
  provider: ProviderName,
  column: Column,
  resources: Resources,
  gpuModel: Schema.optionalKey(Schema.NonEmptyString),
  /** Memory of one GPU. */
  gpuMemoryMib: Schema.optionalKey(Mebibytes),
  pricePicoPerSecond: PicoDollars,
  /** How many more than those that run we believe could be bought. */
  stock: Count,
  /** Idle machines of this kind that run: cheap to keep, and they may be given back. */
  idle: orZero,
  /** What is left on machines that run and must stay, because something runs on them. */
  rooms: orEmpty(Resources),
  /** Paid for already, used or not: the plan takes it for nothing. */
  prepaid: orNo,
  /** Thousandths of its price that it costs more than its price: work lost with it, starts that fail. */
  riskPermille: orZero,
  /** Machines of this column reach each other over a fast network of their own. */
  fabric: orNo,
  /** Containers on somebody's machine instead of machines. */
  container: orNo
})
export type Buyable = typeof Buyable.Type

/** Work of one shape. A unit lies on one machine; a gang's units start together, on one column. */
export const WorkClass = Schema.Struct({
  id: Schema.NonEmptyString,
  units: Count,
  /** What one unit needs. */
  needs: Resources,
  /** Acceptable GPUs, the best liked first. None named: any. */
  gpuModels: orEmpty(Schema.NonEmptyString),
  /** How many units begin together, near to each other; 1 and 0 mean each for itself. */
  gang: orZero,
  /** How near: on one fabric, unless said. The plan puts them on one column in any case. */
  near: Schema.optionalKey(Schema.Literals(["zone", "provider", "anywhere"])),
  /** May run on what can be taken back. */
  spot: orNo,
  /** May run in a container on somebody's machine. */
  containers: orNo,
  /** Names of regions, or parts of the earth (`eu`, `us`, `as`, ...). None: anywhere. */
  regions: orEmpty(Schema.NonEmptyString),
  /** None: any provider. */
  providers: orEmpty(Schema.NonEmptyString),
  /** How much worse than other work it is to leave it waiting, in thousandths. */
  weightPermille: Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(1000)))
})
export type WorkClass = typeof WorkClass.Type

/** Idle, healthy machines of a GPU kind to have in hand, counted in GPUs. */
export const Buffer = Schema.Struct({ gpuModel: Schema.NonEmptyString, gpus: Count })
export type Buffer = typeof Buffer.Type

/** No more than so many of a provider, of what is named; running ones included. */
export const Quota = Schema.Struct({ provider: ProviderName, ...RentalQuota.fields })
export type Quota = typeof Quota.Type

/** No more of all GPUs than this with one provider, in thousandths of those that are wanted or at work. */
export const Share = Schema.Struct({ provider: ProviderName, permilleMax: Count })
export type Share = typeof Share.Type

/** Everything that a plan is chosen from. Kept with the plan, so that it can be solved again. */
export const PlanInputs = Schema.Struct({
  /** In order of arrival. */
  classes: Schema.Array(WorkClass),
  columns: Schema.Array(Buyable),
  buffers: orEmpty(Buffer),
  quotas: orEmpty(Quota),
  shares: orEmpty(Share),
  /** Over everything, running machines included. */
  machinesMax: Schema.optionalKey(Count),
  spendPicoPerHourMax: Schema.optionalKey(PicoDollars)
})
export type PlanInputs = typeof PlanInputs.Type

/** How much what matters matters. Kept with the plan, too. */
export const Weights = Schema.Struct({
  /** Of `riskPermille`, in thousandths: 0 buys by price alone. */
  riskPermille: Count,
  /** Starting a machine costs so much of an hour of it, in thousandths: without it a plan would flit. */
  startPermille: Count,
  /** Giving an idle machine back, likewise. */
  stopPermille: Count,
  /** Each step down the list of a class's GPUs costs so many thousandths of the price. */
  fallbackPermille: Count,
  /** Work left waiting costs so many times the dearest machine that it could have had. */
  unmetTimes: Count,
  /** A provider may have so many GPUs, whatever its share: a share of little is nothing. */
  shareFloorGpus: Count
})
export type Weights = typeof Weights.Type

export const usualWeights: Weights = { riskPermille: 1000, startPermille: 50, stopPermille: 20, fallbackPermille: 10, unmetTimes: 3, shareFloorGpus: 16 }

/** A plan's inputs and weights, as they lie beside it. */
export const PlanKept = Schema.Struct({ inputs: PlanInputs, weights: Weights })
export type PlanKept = typeof PlanKept.Type
