import type { Answer } from "../cloud.ts"

/** "Status": every answer of a Kubernetes API that is no success. */
export const failed = (code: number, reason: string, message: string, more: { readonly details?: unknown; readonly headers?: Record<string, string> } = {}): Answer => ({
  status: code,
  body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, ...(more.details === undefined ? {} : { details: more.details }), code },
  ...(more.headers === undefined ? {} : { headers: more.headers })
})

export const unauthorised = failed(401, "Unauthorized", "Unauthorized")
export const noSuchPath = failed(404, "NotFound", "the server could not find the requested resource")

export const notFound = (resource: string, group: string, name: string) =>
  failed(404, "NotFound", `${qualified(resource, group)} "${name}" not found`, { details: { name, group, kind: resource } })

export const alreadyExists = (resource: string, group: string, name: string) =>
  failed(409, "AlreadyExists", `${qualified(resource, group)} "${name}" already exists`, { details: { name, group, kind: resource } })

export const conflict = (resource: string, group: string, name: string, why: string) =>
  failed(409, "Conflict", `Operation cannot be fulfilled on ${qualified(resource, group)} "${name}": ${why}`, { details: { name, group, kind: resource } })

/** One field that is not as it must be. */
export interface Wrong {
  readonly field: string
  readonly reason: "FieldValueInvalid" | "FieldValueRequired" | "FieldValueNotSupported"
  readonly message: string
}

export const invalid = (kind: string, name: string, wrongs: ReadonlyArray<Wrong>) =>
  failed(422, "Invalid", `${kind} "${name}" is invalid: ${wrongs.map(({ field, message }) => `${field}: ${message}`).join(", ")}`, {
    details: { name, kind, causes: wrongs }
  })

const qualified = (resource: string, group: string) => (group === "" ? resource : `${resource}.${group}`)
