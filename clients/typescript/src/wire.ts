import {invalid, violation} from "./errors";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true});
const loneSurrogate = /\p{Surrogate}/u;

/** UTF-8 of a text; half a surrogate pair is none. */
export function utf8(text: string): Uint8Array {
  if (loneSurrogate.test(text))
    throw invalid(`text: expected Unicode, found half a pair of surrogates in ${JSON.stringify(text)}`);
  return encoder.encode(text);
}

export function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw violation("text: expected UTF-8, found other bytes");
  }
}

/** Writes fields of a protobuf message. Like proto3 it leaves out what has its default. */
export class Writer {
  private parts: Uint8Array[] = [];
  private length = 0;

  private put(bytes: Uint8Array): void {
    this.parts.push(bytes);
    this.length += bytes.length;
  }

  private varint(value: bigint): void {
    const bytes: number[] = [];
    while (value > 127n) {
      bytes.push(Number(value & 127n) | 128);
      value >>= 7n;
    }
    bytes.push(Number(value));
    this.put(Uint8Array.from(bytes));
  }

  private head(field: number, wire: number): void {
    this.varint(BigInt(field * 8 + wire));
  }

  number(field: number, value: number|bigint, always = false): this {
    if (Number(value) === 0 && !always) return this;
    this.head(field, 0);
    this.varint(BigInt(value));
    return this;
  }

  double(field: number, value: number): this {
    this.head(field, 1);
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    this.put(bytes);
    return this;
  }

  bytes(field: number, value: Uint8Array, always = false): this {
    if (value.length === 0 && !always) return this;
    this.head(field, 2);
    this.varint(BigInt(value.length));
    this.put(value);
    return this;
  }

  text(field: number, value: string, always = false): this {
    return this.bytes(field, utf8(value), always);
  }

  message(field: number, value: Writer): this {
    return this.bytes(field, value.finish(), true);
  }

  packed(field: number, values: readonly number[]): this {
    const inner = new Writer();
    for (const value of values) inner.varint(BigInt(value));
    return this.bytes(field, inner.finish());
  }

  finish(): Uint8Array {
    const whole = new Uint8Array(this.length);
    let place = 0;
    for (const part of this.parts) {
      whole.set(part, place);
      place += part.length;
    }
    return whole;
  }
}

/** Reads fields of a protobuf message that came from a peer whom nobody trusts. */
export class Reader {
  private place = 0;
  /** Number of the field that `next` found. */
  field = 0;
  private wire = 0;

  constructor(private readonly data: Uint8Array) {}

  /** Goes on to the next field; false at the end. Fields of a foreign wire type count as unknown: see `is`. */
  next(): boolean {
    if (this.place >= this.data.length) return false;
    const key = this.varint();
    this.field = Number(key >> 3n);
    this.wire = Number(key & 7n);
    if (this.field === 0 || key > 0xffffffffn)
      throw violation("message: expected a field number from 1 to 2^29, found another");
    return true;
  }

  /** Whether this is the field, in the form that it has in the schema: 0 number, 1 eight bytes, 2 bytes. */
  is(field: number, wire: number): boolean {
    return this.field === field && this.wire === wire;
  }

  varint(): bigint {
    // Most numbers take few bytes: below 2^28 without big integers.
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte();
      low |= (byte & 127) << shift;
      if (byte < 128) return BigInt(low);
    }
    let value = BigInt(low);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw violation("message: expected a number of at most ten bytes, found more");
  }

  number(): number {
    return Number(this.varint());
  }

  bool(): boolean {
    return this.varint() !== 0n;
  }

  double(): number {
    const bytes = this.take(8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
  }

  bytes(): Uint8Array {
    return this.take(Number(this.varint()));
  }

  text(): string {
    return textOf(this.bytes());
  }

  message(): Reader {
    return new Reader(this.bytes());
  }

  /** Numbers of a repeated field, packed or not; adds them to a list. */
  numbers(into: bigint[]): void {
    if (this.wire === 0) {
      into.push(this.varint());
      return;
    }
    const inner = this.message();
    while (inner.place < inner.data.length) into.push(inner.varint());
  }

  /** Passes over a field that this client does not know. */
  skip(): void {
    switch (this.wire) {
      case 0:
        this.varint();
        return;
      case 1:
        this.take(8);
        return;
      case 2:
        this.bytes();
        return;
      case 5:
        this.take(4);
        return;
      default:
        throw violation(`message: expected a wire type of proto3, found ${this.wire}`);
    }
  }

  private byte(): number {
    if (this.place >= this.data.length) throw violation("message: expected a whole number, found the end");
    return this.data[this.place++];
  }

  private take(count: number): Uint8Array {
    if (count > this.data.length - this.place) {
      throw violation(`message: expected ${count} bytes of a field, found ${this.data.length - this.place}`);
    }
    this.place += count;
    return this.data.subarray(this.place - count, this.place);
  }
}
