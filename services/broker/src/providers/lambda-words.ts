import { Schema } from "effect"

/**
 * The parts of Lambda's Cloud API that we use, written from its OpenAPI description 1.10.0 (servers
 * https://cloud.lambda.ai/; read October 2026). Fields that we do not read are left out; unknown ones are passed over.
 */
const Region = Schema.Struct({ name: Schema.NonEmptyString })

export const InstanceType = Schema.Struct({
  name: Schema.NonEmptyString,
  gpu_description: Schema.String,
  price_cents_per_hour: Schema.Int,
  specs: Schema.Struct({ vcpus: Schema.Int, memory_gib: Schema.Int, storage_gib: Schema.Int, gpus: Schema.Int })
})

/** `GET /api/v1/instance-types`. */
export const InstanceTypes = Schema.Struct({
  data: Schema.Record(Schema.String, Schema.Struct({ instance_type: InstanceType, regions_with_capacity_available: Schema.Array(Region) }))
})

export const Instance = Schema.Struct({
  id: Schema.NonEmptyString,
  name: Schema.optionalKey(Schema.NullOr(Schema.String)),
  status: Schema.String,
  region: Region,
  instance_type: InstanceType,
  tags: Schema.optionalKey(Schema.Array(Schema.Struct({ key: Schema.String, value: Schema.String })))
})
export type Instance = typeof Instance.Type

/** `GET /api/v1/instances`. */
export const Instances = Schema.Struct({ data: Schema.Array(Instance) })

/** `GET /api/v1/ssh-keys`. */
export const SshKeys = Schema.Struct({ data: Schema.Array(Schema.Struct({ name: Schema.String })) })

/** `POST /api/v1/instance-operations/launch`. */
export const Launched = Schema.Struct({ data: Schema.Struct({ instance_ids: Schema.Array(Schema.NonEmptyString) }) })

/** `POST /api/v1/instance-operations/terminate`. */
export const Terminated = Schema.Struct({ data: Schema.Struct({ terminated_instances: Schema.Array(Schema.Struct({ id: Schema.String })) }) })

/** Every error's body. */
export const Failed = Schema.Struct({ error: Schema.Struct({ code: Schema.String, message: Schema.String }) })

/** GPU names as jobs ask for them, by what the price list says: "H100 (80 GB SXM5)" is "H100", "Tesla V100 (16 GB)" is "V100". */
export const modelOf = (description: string): string | undefined => {
  const model = (description.split(" (")[0] ?? "").trim().replace(/^Tesla /u, "")
  return model === "" || /^n\/?a$/iu.test(model) ? undefined : model
}

/** Memory of one GPU, where the price list says it: the same model is sold with more than one. */
export const gpuMemoryMibOf = (description: string): number | undefined => {
  const gib = Number(/\((\d+) GB\b/u.exec(description)?.[1] ?? "")
  return gib > 0 ? gib * 1024 : undefined
}
