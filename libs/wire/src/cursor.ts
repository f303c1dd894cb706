import { isUtf8 } from "node:buffer"

/**
 * Reads big-endian fields from a byte array, front to back. Running past the end does not throw: the
 * first thing found wrong is remembered in `wrong`, everything read after it is zero or empty, and the
 * caller asks once at the end. So a decoder is written as a straight list of fields.
 */
export class Cursor {
  private at = 0
  private readonly view: DataView
  /** What was found wrong first; `undefined` while all is well. */
  wrong: string | undefined

  private readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Remembers `reason` unless something was wrong before. */
  refuse(reason: string): void {
    this.wrong ??= reason
  }

  u8(): number {
    return this.take(1) ? this.view.getUint8(this.at - 1) : 0
  }

  u16(): number {
    return this.take(2) ? this.view.getUint16(this.at - 2) : 0
  }

  u32(): number {
    return this.take(4) ? this.view.getUint32(this.at - 4) : 0
  }

  /** An unsigned 64-bit number that must also be exact in a double (below 2^53). */
  u64(): number {
    if (!this.take(8)) return 0
    const value = this.view.getBigUint64(this.at - 8)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.refuse(`a number of ${value} is beyond 2^53 - 1`)
      return 0
    }
    return Number(value)
  }

  /** `length` bytes as a view into the input: copy them to keep them. */
  raw(length: number): Uint8Array {
    return this.take(length) ? this.bytes.subarray(this.at - length, this.at) : new Uint8Array(0)
  }

  /** Everything not read yet. */
  rest(): Uint8Array {
    return this.raw(this.bytes.byteLength - this.at)
  }

  /** Text whose length in bytes stands before it in one byte. */
  text8(): string {
    return this.text(this.u8())
  }

  /** Text whose length in bytes stands before it in two bytes. */
  text16(): string {
    return this.text(this.u16())
  }

  /** A count in one byte, then that many elements. Stops at the first thing wrong. */
  list<A>(countMax: number, element: () => A): ReadonlyArray<A> {
    const count = this.u8()
    if (count > countMax) this.refuse(`a list of ${count} is longer than ${countMax}`)
    const found: Array<A> = []
    for (let n = 0; n < count && this.wrong === undefined; n++) found.push(element())
    return found
  }

  /** Nothing may stand behind the last field. */
  finish(): void {
    const left = this.bytes.byteLength - this.at
    if (left > 0) this.refuse(`${left} bytes stand behind the last field`)
  }

  private text(length: number): string {
    const bytes = this.raw(length)
    if (!isUtf8(bytes)) {
      this.refuse("a text is not UTF-8")
      return ""
    }
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")
  }

  private take(length: number): boolean {
    if (this.wrong !== undefined) return false
    if (this.at + length > this.bytes.byteLength) {
      this.refuse(`it ends at byte ${this.bytes.byteLength}, before a field of ${length} bytes at ${this.at}`)
      return false
    }
    this.at += length
    return true
  }
}

/** Writes what `Cursor` reads. A value that does not fit its field is a bug of the caller and throws. */
export class Writer {
  private readonly parts: Array<Uint8Array> = []
  private length = 0

  u8(value: number): this {
    return this.number(1, value, 0xff, (view) => view.setUint8(0, value))
  }

  u16(value: number): this {
    return this.number(2, value, 0xffff, (view) => view.setUint16(0, value))
  }

  u32(value: number): this {
    return this.number(4, value, 0xffffffff, (view) => view.setUint32(0, value))
  }

  u64(value: number): this {
    return this.number(8, value, Number.MAX_SAFE_INTEGER, (view) => view.setBigUint64(0, BigInt(value)))
  }

  raw(bytes: Uint8Array): this {
    this.parts.push(bytes)
    this.length += bytes.byteLength
    return this
  }

  text8(value: string): this {
    const bytes = Buffer.from(value, "utf8")
    return this.u8(bytes.byteLength).raw(bytes)
  }

  text16(value: string): this {
    const bytes = Buffer.from(value, "utf8")
    return this.u16(bytes.byteLength).raw(bytes)
  }

  list<A>(elements: ReadonlyArray<A>, element: (one: A) => void): this {
    this.u8(elements.length)
    elements.forEach(element)
    return this
  }

  /** All that was written, in one array of its own. */
  bytes(): Uint8Array {
    return Buffer.concat(this.parts, this.length)
  }

  private number(size: number, value: number, max: number, set: (view: DataView) => void): this {
    if (!Number.isInteger(value) || value < 0 || value > max) {
      throw new RangeError(`${value} does not fit an unsigned field of ${size} bytes`)
    }
    const bytes = new Uint8Array(size)
    set(new DataView(bytes.buffer))
    return this.raw(bytes)
  }
}
