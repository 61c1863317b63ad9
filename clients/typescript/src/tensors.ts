import {invalid, violation} from "./errors";
import {Tensor, typeNames} from "./messages";
import {textOf, utf8} from "./wire";

/** One value: null, undefined and NaN are missing; so is an empty text. */
export type Cell = number|bigint|boolean|string|null|undefined;

export type NumberArray = Float32Array|Float64Array|Int8Array|Int16Array|Int32Array|BigInt64Array|Uint8Array;

/** Values of one feature, one a row. */
export type Column = NumberArray|readonly Cell[];

/** All features of all rows in one array, row after row, in the model's order. */
export interface Matrix {
  columns: number;
  values: NumberArray|readonly Cell[];
}

/** Rows in the model's order, a matrix, or columns by the names of their features. */
export type Inputs = readonly(readonly Cell[])[]|{matrix: Matrix}|{[feature: string]: Column};

/** What a model said under one name. */
export interface Output {
  name: string;
  /** FLOAT32, INT64, STRING and so on. */
  type: string;
  shape: number[];
  /** Row after row; truth values are 0 and 1. */
  values: NumberArray|string[];
}

const FLOAT64 = 2;
const INT64 = 6;
const BOOL = 8;
const STRING = 9;
const FRAME_BYTES_CAP = 64 << 20;
const bytesOf = [0, 4, 8, 1, 2, 4, 8, 1, 1, 0];

const typed: [new (...values: never[]) => NumberArray, number][] = [
  [Float32Array, 1],
  [Float64Array, 2],
  [Int8Array, 3],
  [Int16Array, 4],
  [Int32Array, 5],
  [BigInt64Array, 6],
  [Uint8Array, 7],
];

if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
  throw new Error("needletail: expected a little-endian machine: tensors are sent as they stand in memory");
}

/** The tensors of a call's inputs. */
export function encode(inputs: Inputs): Tensor[] {
  if (Array.isArray(inputs)) return [encodeRows(inputs as readonly(readonly Cell[])[])];
  const matrix = (inputs as {matrix?: unknown}).matrix;
  if (isMatrix(matrix)) return [encodeMatrix(matrix)];
  const columns = Object.entries(inputs as {[feature: string]: Column});
  if (columns.length === 0) throw invalid("inputs: expected at least one column, found none");
  return columns.map(([name, values]) => {
    if (values.length !== columns[0][1].length || values.length === 0) {
      throw invalid(
          `column "${name}": expected ${columns[0][1].length} rows like column "${columns[0][0]}", and at least one, ` +
              `found ${values.length}`,
      );
    }
    return encodeValues(name, values, [values.length]);
  });
}

function isMatrix(value: unknown): value is Matrix {
  return typeof value === "object" && value !== null && "columns" in value && "values" in value;
}

function encodeRows(rows: readonly(readonly Cell[])[]): Tensor {
  const columns = rows[0]?.length ?? 0;
  const cells: Cell[] = [];
  rows.forEach((row, place) => {
    if (!Array.isArray(row))
      throw invalid(`inputs: expected rows, found ${typeof row} in row ${place}; write [row] for a single row`);
    if (row.length !== columns)
      throw invalid(`inputs: expected ${columns} features in row ${place}, found ${row.length}`);
    for (const cell of row as readonly Cell[]) cells.push(cell);
  });
  return encodeMatrix({columns, values: cells});
}

function encodeMatrix(matrix: Matrix): Tensor {
  const {columns, values} = matrix;
  if (!(columns >= 1) || values.length === 0 || values.length % columns !== 0) {
    throw invalid(`inputs: expected at least one whole row of ${columns} features, found ${values.length} values`);
  }
  return encodeValues("features", values, [values.length / columns, columns]);
}

function encodeValues(name: string, values: NumberArray|readonly Cell[], shape: number[]): Tensor {
  const tensor: Tensor = {name, type: 0, shape: shape.map(BigInt), data: new Uint8Array(), strings: []};
  for (const [kind, type] of typed) {
    if (values instanceof kind) {
      tensor.type = type;
      tensor.data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      return tensor;
    }
  }
  if (!Array.isArray(values))
    throw invalid(`column "${name}": expected an array of numbers, truth values or text, found another`);
  const cells = values as readonly Cell[];
  const kinds = new Set(cells.map(kindOf));
  kinds.delete("missing");
  if (kinds.has("other"))
    throw invalid(`column "${name}": expected numbers, truth values or text, found another kind of value`);
  const only = kinds.size === 1 ? [...kinds][0] : "mixed";
  const isWhole = !cells.some((cell) => kindOf(cell) === "missing");
  if (only === "number") {
    tensor.type = FLOAT64;
    tensor.data = new Uint8Array(
        Float64Array.from(cells, (cell) => (cell === null || cell === undefined ? NaN : Number(cell))).buffer);
  } else if (only === "bigint" && isWhole) {
    for (const cell of cells as readonly bigint[]) {
      if (BigInt.asIntN(64, cell) !== cell)
        throw invalid(`column "${name}": expected integers of 64 bits, found ${cell}`);
    }
    tensor.type = INT64;
    tensor.data = new Uint8Array(BigInt64Array.from(cells as readonly bigint[]).buffer);
  } else if (only === "boolean" && isWhole) {
    tensor.type = BOOL;
    tensor.data = Uint8Array.from(cells, (cell) => (cell ? 1 : 0));
  } else {
    // Text among them, or nothing but missing values: a server reads numbers and truth values from text as well.
    tensor.type = STRING;
    tensor.strings = cells.map((cell) => utf8(kindOf(cell) === "missing" ? "" : String(cell)));
  }
  return tensor;
}

function kindOf(cell: Cell): string {
  if (cell === null || cell === undefined || (typeof cell === "number" && Number.isNaN(cell))) return "missing";
  const kind = typeof cell;
  return kind === "number" || kind === "bigint" || kind === "boolean" || kind === "string" ? kind : "other";
}

/** An output of its own memory. */
export function decode(tensor: Tensor): Output {
  let count = 1;
  for (const size of tensor.shape) {
    // No frame holds more, whatever else the shape says.
    if (size > BigInt(FRAME_BYTES_CAP) || (count *= Number(size)) > FRAME_BYTES_CAP) {
      throw violation(
          `output "${tensor.name}": expected a shape that a frame can hold, found [${tensor.shape.join(", ")}]`);
    }
  }
  const shape = tensor.shape.map(Number);
  const type = typeNames[tensor.type];
  const size = bytesOf[tensor.type];
  if (tensor.type === STRING) {
    if (tensor.strings.length !== count) {
      throw violation(`output "${tensor.name}": expected ${count} strings, found ${tensor.strings.length}`);
    }
    return {name: tensor.name, type, shape, values: tensor.strings.map(textOf)};
  }
  if (!size) throw violation(`output "${tensor.name}": expected a known element type, found ${tensor.type}`);
  if (tensor.data.length !== count * size) {
    throw violation(`output "${tensor.name}": expected ${count * size} bytes, found ${tensor.data.length}`);
  }
  const memory = new Uint8Array(tensor.data).buffer;
  const kind = typed.find(([, number]) => number === tensor.type)?.[0] as unknown as new (memory: ArrayBufferLike) =>
                   NumberArray;
  return {name: tensor.name, type, shape, values: tensor.type === BOOL ? new Uint8Array(memory) : new kind(memory)};
}
