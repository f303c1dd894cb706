import { bodyLimit as limited } from "@millrace/service"
import { bodyBytesMax } from "./api.ts"

/** Bodies are small but for blobs, which bound themselves. */
export const bodyLimit = limited({
  bytesMax: bodyBytesMax,
  free: ({ method, url }) => method === "PUT" && url.startsWith("/v1/blobs"),
  remedy: "put large things as blobs (PUT /v1/blobs), and name their digests"
})
