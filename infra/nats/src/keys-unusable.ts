import { Schema } from "effect"

/** The cell's keys cannot be used, or could be read by others. */
export class KeysUnusable extends Schema.TaggedError<KeysUnusable>()("KeysUnusable", {
  folder: Schema.String,
  detail: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    return `The keys in ${this.folder} cannot be used: ${this.detail}. Remedy: ${this.remedy}.`
  }
}
