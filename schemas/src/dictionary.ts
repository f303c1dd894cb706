/**
 * The shapes of records that the log's msgpack bodies name by number instead of by keys. Frozen and
 * append-only: an entry that has been written is never changed, moved or removed, because a reader with
 * other entries would decode wrong keys without an error. A commit's `Mill-Dict` header says how many
 * entries it needs; a reader with fewer refuses it.
 */
export const dictionary: ReadonlyArray<ReadonlyArray<string>> = []
