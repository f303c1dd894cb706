import { inspect } from "node:util"
import { BlobRef, Bytes, Digest } from "@millrace/schemas"
import { Schema } from "effect"

const blobError = Schema.TaggedError

/** No blob of this name is in the store: it was never put, or it was collected. */
export class BlobMissing extends blobError<BlobMissing>()("BlobMissing", { digest: Digest }) {
  override get message() {
    return `No blob ${this.digest} in the store. Put its bytes again, or ask where the name came from.`
  }
}

/** The bytes under this name are not the bytes of this name. What was read so far must be thrown away. */
export class BlobCorrupt extends blobError<BlobCorrupt>()("BlobCorrupt", { digest: Digest, found: BlobRef }) {
  override get message() {
    return `The bytes named ${this.digest} hash to ${this.found.digest} (${this.found.sizeBytes} bytes). ` +
      "Discard them, and restore the blob from a copy."
  }
}

/** The store has no room. Nothing of this put is visible. */
export class BlobStoreFull extends blobError<BlobStoreFull>()("BlobStoreFull", { cause: Schema.Defect() }) {
  override get message() {
    return "The blob store is full. Give it room or collect garbage, then put again."
  }
}

/** The store did not answer as it should; a put may or may not be visible. Doing it again is safe. */
export class BlobStoreUnclear extends blobError<BlobStoreUnclear>()("BlobStoreUnclear", {
  doing: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `The blob store left it unclear whether "${this.doing}" is done (${this.cause instanceof Error ? this.cause.message : inspect(this.cause)}). Do it again.`
  }
}

/** More bytes came than this put allows. Nothing of it is visible. */
export class BlobTooLarge extends blobError<BlobTooLarge>()("BlobTooLarge", { sizeBytesMax: Bytes }) {
  override get message() {
    return `More than the ${this.sizeBytesMax} bytes came that were allowed. Send less, or ask for a larger limit.`
  }
}
