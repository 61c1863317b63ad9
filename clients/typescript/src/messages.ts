// The messages of needletail/v1/inference.proto that a client needs. Field numbers never change within version 1.

import {ErrorDetail, Status} from "./errors";
import {emptyReport, FeedbackReport, Outcome} from "./feedback";
import {Reader, Writer} from "./wire";

/** A tensor on the wire. */
export interface Tensor {
  name: string;
  type: number;
  shape: bigint[];
  data: Uint8Array;
  strings: Uint8Array[];
}

export interface VersionStatus {
  version: bigint;
  /** incomplete, verifying, loading, checking, warming, live, retiring, retired or rejected. */
  state: string;
  /** Why it was rejected, or what it waits for; else empty. */
  reason: string;
  /** SHA-256 of the bundle's directory. */
  digest: string;
  /** Name of the key that signed it; empty if unsigned. */
  signer: string;
  /** When it entered this state. */
  since: Date;
  residentBytes: bigint;
}

export interface ModelStatus {
  model: string;
  /** The version that answers when none is asked for; 0 if there is none. */
  servingVersion: bigint;
  /** Newest first. */
  versions: VersionStatus[];
}

export interface Health {
  live: boolean;
  ready: boolean;
  models: ModelStatus[];
}

export interface ModelList {
  models: ModelStatus[];
  /** Files in the store that are no bundle of any model. */
  problems: {path: string; reason: string}[];
}

/** The limits in force; 0: the server does not say. */
export interface ServerLimits {
  requestBytesMax: bigint;
  answerBytesMax: bigint;
  /** Rows of one call. */
  rowsMax: bigint;
  /** Calls in flight on a connection, and of these those that are no predictions. */
  callsInFlightMax: bigint;
  otherCallsInFlightMax: bigint;
  /** Tensors of one call, dimensions of one of them, and names of outputs. */
  tensorsMax: bigint;
  dimensionsMax: bigint;
  outputNamesMax: bigint;
  routingKeyBytesMax: bigint;
  /** Bytes of one text in a column of text. */
  textBytesMax: bigint;
  /** Bytes of the answers of one connection that are computed or wait to be read. */
  outputBytesMax: bigint;
  /** Silence after which a connection is closed. */
  idleMs: bigint;
}

export interface ServerInfo {
  name: string;
  version: string;
  /** The instruction set that the server compiles models for. */
  isa: string;
  /** What the server offers beside the calls that every server has; proto/README.md lists them. */
  features: string[];
  limits: ServerLimits;
}

export interface TensorSpec {
  name: string;
  /** FLOAT32, STRING and so on. */
  type: string;
  /** 0 stands for the rows. */
  shape: number[];
  /** The known categories of a categorical feature; else empty. */
  categories: string[];
  /** Whether the feature may be missing. */
  optional: boolean;
  description: string;
  /** Whether the feature is free text, which counts as it is. */
  text: boolean;
}

export interface ModelDescription {
  model: string;
  version: bigint;
  state: string;
  task: string;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** Label of every class, by class index. */
  labels: string[];
  digest: string;
  signer: string;
  created: Date;
  /** Figures on the test split when the model was trained. */
  metrics: Record<string, number>;
  /** Where it came from: trainer version, data hash, seed, parent, configuration. */
  lineage: Record<string, string>;
  precision: string;
  isa: string;
  residentBytes: bigint;
  /** Steps of the compiled plan, for people. */
  plan: string[];
}

export interface PredictAnswer {
  model: string;
  version: bigint;
  outputs: Tensor[];
  queueUs: number;
  computeUs: number;
  batchRows: number;
}

/** One frame of a server. */
export interface Response {
  id: bigint;
  status?: Status;
  predict?: PredictAnswer;
  health?: Health;
  metrics?: string;
  listModels?: ModelList;
  describeModel?: ModelDescription;
  authenticate?: string;
  goAway?: bigint;
  serverInfo?: ServerInfo;
  feedback?: FeedbackReport;
}

export const typeNames = [
  "DATA_TYPE_UNSPECIFIED",
  "FLOAT32",
  "FLOAT64",
  "INT8",
  "INT16",
  "INT32",
  "INT64",
  "UINT8",
  "BOOL",
  "STRING",
];

const stateNames = [
  "version_state_unspecified",
  "incomplete",
  "verifying",
  "loading",
  "checking",
  "warming",
  "live",
  "retiring",
  "retired",
  "rejected",
];

// ---------------------------------------------------------------- requests

/** Id and budget; joined with one of the calls below they are a whole `Request`. */
export function requestHead(id: number, timeoutUs: number): Uint8Array {
  return new Writer().number(1, id).number(2, timeoutUs).finish();
}

export interface Selector {
  version?: number|bigint;
  label?: string;
}

function select(message: Writer, selector: Selector): Writer {
  if (selector.version !== undefined) message.number(2, selector.version, true);
  if (selector.label !== undefined) message.text(3, selector.label, true);
  return message;
}

export function predictCall(
    model: string,
    selector: Selector,
    tensors: Tensor[],
    outputs: readonly string[],
    routingKey: string,
    bulk: boolean,
    key: string,
    traceparent: string,
    ): Uint8Array {
  const predict = select(new Writer().text(1, model), selector);
  for (const tensor of tensors) {
    const message = new Writer().text(1, tensor.name).number(2, tensor.type).packed(3, tensor.shape.map(Number));
    message.bytes(4, tensor.data);
    for (const text of tensor.strings) message.bytes(5, text, true);
    predict.message(4, message);
  }
  for (const output of outputs) predict.text(5, output, true);
  predict.text(6, routingKey).number(7, bulk ? 1 : 0).text(8, key);
  return new Writer().message(3, predict).text(13, traceparent).finish();
}

export const healthCall = (): Uint8Array => new Writer().message(4, new Writer()).finish();
export const metricsCall = (): Uint8Array => new Writer().message(5, new Writer()).finish();
export const serverInfoCall = (): Uint8Array => new Writer().message(11, new Writer()).finish();
export const listModelsCall = (): Uint8Array => new Writer().message(6, new Writer()).finish();

export function describeModelCall(model: string, selector: Selector): Uint8Array {
  return new Writer().message(7, select(new Writer().text(1, model), selector)).finish();
}

export function feedbackCall(model: string, outcomes: readonly Outcome[]): Uint8Array {
  const feedback = new Writer().text(1, model);
  for (const {key, row = 0, truth} of outcomes) {
    const outcome = new Writer().text(1, key).number(2, row);
    feedback.message(2, typeof truth === "string" ? outcome.text(3, truth, true) : outcome.double(4, truth));
  }
  return new Writer().message(12, feedback).finish();
}

export function authenticateCall(key: string): Uint8Array {
  return new Writer().message(8, new Writer().text(1, key)).finish();
}

// ---------------------------------------------------------------- responses

export function readResponse(frame: Uint8Array): Response {
  const response: Response = {id: 0n};
  // The last result counts, as protobuf says of a oneof.
  const only = (result: Partial<Response>): void => {
    for (const name of results) delete response[name];
    Object.assign(response, result);
  };
  const reader = new Reader(frame);
  while (reader.next()) {
    if (reader.is(1, 0))
      response.id = reader.varint();
    else if (reader.is(2, 2))
      response.status = readStatus(reader.message());
    else if (reader.is(3, 2))
      only({predict: readPredict(reader.message())});
    else if (reader.is(4, 2))
      only({health: readHealth(reader.message())});
    else if (reader.is(5, 2))
      only({metrics: readText(reader.message())});
    else if (reader.is(6, 2))
      only({listModels: readModelList(reader.message())});
    else if (reader.is(7, 2))
      only({describeModel: readDescription(reader.message())});
    else if (reader.is(8, 2))
      only({authenticate: readText(reader.message())});
    else if (reader.is(9, 2))
      only({goAway: readGoAway(reader.message())});
    else if (reader.is(12, 2))
      only({serverInfo: readServerInfo(reader.message())});
    else if (reader.is(13, 2))
      only({feedback: readFeedback(reader.message())});
    else
      reader.skip();
  }
  return response;
}

const results = [
  "predict",
  "health",
  "metrics",
  "listModels",
  "describeModel",
  "authenticate",
  "goAway",
  "serverInfo",
  "feedback",
] as const;

function readStatus(reader: Reader): Status {
  const status: Status = {code: 0, message: "", retryAfterUs: 0};
  while (reader.next()) {
    if (reader.is(1, 0))
      status.code = reader.number();
    else if (reader.is(2, 2))
      status.message = reader.text();
    else if (reader.is(3, 0))
      status.retryAfterUs = reader.number();
    else if (reader.is(4, 2))
      status.detail = readDetail(reader.message());
    else
      reader.skip();
  }
  return status;
}

function readDetail(reader: Reader): ErrorDetail {
  const detail: ErrorDetail = {field: ""};
  while (reader.next()) {
    if (reader.is(1, 2))
      detail.field = reader.text();
    else if (reader.is(2, 0))
      detail.row = reader.varint();
    else if (reader.is(3, 2)) {
      const limit = {name: "", maximum: 0n, found: 0n};
      for (const told = reader.message(); told.next();) {
        if (told.is(1, 2))
          limit.name = told.text();
        else if (told.is(2, 0))
          limit.maximum = told.varint();
        else if (told.is(3, 0))
          limit.found = told.varint();
        else
          told.skip();
      }
      detail.limit = limit;
    } else
      reader.skip();
  }
  return detail;
}

/** The limits in the order of their fields. */
const limitNames: readonly(keyof ServerLimits)[] = [
  "requestBytesMax",
  "answerBytesMax",
  "rowsMax",
  "callsInFlightMax",
  "otherCallsInFlightMax",
  "tensorsMax",
  "dimensionsMax",
  "outputNamesMax",
  "routingKeyBytesMax",
  "textBytesMax",
  "outputBytesMax",
  "idleMs",
];

function readServerInfo(reader: Reader): ServerInfo {
  const limits = Object.fromEntries(limitNames.map((name) => [name, 0n])) as unknown as ServerLimits;
  const info: ServerInfo = {name: "", version: "", isa: "", features: [], limits};
  while (reader.next()) {
    if (reader.is(1, 2))
      info.name = reader.text();
    else if (reader.is(2, 2))
      info.version = reader.text();
    else if (reader.is(3, 2))
      info.isa = reader.text();
    else if (reader.is(4, 2))
      info.features.push(reader.text());
    else if (reader.is(5, 2)) {
      for (const told = reader.message(); told.next();) {
        const place = limitNames.findIndex((_, index) => told.is(index + 1, 0));
        if (place >= 0)
          limits[limitNames[place]] = told.varint();
        else
          told.skip();
      }
    } else
      reader.skip();
  }
  return info;
}

/** The counts in the order of their fields. */
const countNames = ["joined", "unknown", "late", "duplicate", "contradictory", "invalid"] as const;

function readFeedback(reader: Reader): FeedbackReport {
  const report = emptyReport();
  while (reader.next()) {
    const place = countNames.findIndex((_, index) => reader.is(index + 1, 0));
    if (place >= 0)
      report[countNames[place]] = reader.number();
    else if (reader.is(7, 2)) {
      const problem = {index: 0, result: "", message: ""};
      for (const told = reader.message(); told.next();) {
        if (told.is(1, 0))
          problem.index = told.number();
        else if (told.is(2, 2))
          problem.result = told.text();
        else if (told.is(3, 2))
          problem.message = told.text();
        else
          told.skip();
      }
      report.problems.push(problem);
    } else
      reader.skip();
  }
  return report;
}

function readGoAway(reader: Reader): bigint {
  let last = 0n;
  while (reader.next()) {
    if (reader.is(1, 0))
      last = reader.varint();
    else
      reader.skip();
  }
  return last;
}

function readText(reader: Reader): string {
  let text = "";
  while (reader.next()) {
    if (reader.is(1, 2))
      text = reader.text();
    else
      reader.skip();
  }
  return text;
}

function readPredict(reader: Reader): PredictAnswer {
  const answer: PredictAnswer = {model: "", version: 0n, outputs: [], queueUs: 0, computeUs: 0, batchRows: 0};
  while (reader.next()) {
    if (reader.is(1, 2))
      answer.model = reader.text();
    else if (reader.is(2, 0))
      answer.version = reader.varint();
    else if (reader.is(3, 2))
      answer.outputs.push(readTensor(reader.message()));
    else if (reader.is(4, 2)) {
      const timing = reader.message();
      while (timing.next()) {
        if (timing.is(1, 0))
          answer.queueUs = timing.number();
        else if (timing.is(2, 0))
          answer.computeUs = timing.number();
        else if (timing.is(3, 0))
          answer.batchRows = timing.number();
        else
          timing.skip();
      }
    } else
      reader.skip();
  }
  return answer;
}

function readTensor(reader: Reader): Tensor {
  const tensor: Tensor = {name: "", type: 0, shape: [], data: new Uint8Array(), strings: []};
  while (reader.next()) {
    if (reader.is(1, 2))
      tensor.name = reader.text();
    else if (reader.is(2, 0))
      tensor.type = reader.number();
    else if (reader.is(3, 2) || reader.is(3, 0))
      reader.numbers(tensor.shape);
    else if (reader.is(4, 2))
      tensor.data = reader.bytes();
    else if (reader.is(5, 2))
      tensor.strings.push(reader.bytes());
    else
      reader.skip();
  }
  return tensor;
}

function readHealth(reader: Reader): Health {
  const health: Health = {live: false, ready: false, models: []};
  while (reader.next()) {
    if (reader.is(1, 0))
      health.live = reader.bool();
    else if (reader.is(2, 0))
      health.ready = reader.bool();
    else if (reader.is(3, 2))
      health.models.push(readModel(reader.message()));
    else
      reader.skip();
  }
  return health;
}

function readModelList(reader: Reader): ModelList {
  const list: ModelList = {models: [], problems: []};
  while (reader.next()) {
    if (reader.is(1, 2))
      list.models.push(readModel(reader.message()));
    else if (reader.is(2, 2)) {
      const [path, reason] = readPair(reader.message(), (value) => value.text(), "");
      list.problems.push({path, reason});
    } else
      reader.skip();
  }
  return list;
}

function readModel(reader: Reader): ModelStatus {
  const model: ModelStatus = {model: "", servingVersion: 0n, versions: []};
  while (reader.next()) {
    if (reader.is(1, 2))
      model.model = reader.text();
    else if (reader.is(2, 0))
      model.servingVersion = reader.varint();
    else if (reader.is(3, 2))
      model.versions.push(readVersion(reader.message()));
    else
      reader.skip();
  }
  return model;
}

function stateName(state: number): string {
  return stateNames[state] ?? `state ${state}`;
}

function readVersion(reader: Reader): VersionStatus {
  const status: VersionStatus = {
    version: 0n,
    state: stateNames[0],
    reason: "",
    digest: "",
    signer: "",
    since: new Date(0),
    residentBytes: 0n,
  };
  while (reader.next()) {
    if (reader.is(1, 0))
      status.version = reader.varint();
    else if (reader.is(2, 0))
      status.state = stateName(reader.number());
    else if (reader.is(3, 2))
      status.reason = reader.text();
    else if (reader.is(4, 2))
      status.digest = reader.text();
    else if (reader.is(5, 2))
      status.signer = reader.text();
    else if (reader.is(6, 0))
      status.since = new Date(reader.number());
    else if (reader.is(7, 0))
      status.residentBytes = reader.varint();
    else
      reader.skip();
  }
  return status;
}

function readSpec(reader: Reader): TensorSpec {
  const spec: TensorSpec =
      {name: "", type: typeNames[0], shape: [], categories: [], optional: false, description: "", text: false};
  const shape: bigint[] = [];
  while (reader.next()) {
    if (reader.is(1, 2))
      spec.name = reader.text();
    else if (reader.is(2, 0)) {
      const type = reader.number();
      spec.type = typeNames[type] ?? `type ${type}`;
    } else if (reader.is(3, 2) || reader.is(3, 0))
      reader.numbers(shape);
    else if (reader.is(4, 2))
      spec.categories.push(reader.text());
    else if (reader.is(5, 0))
      spec.optional = reader.bool();
    else if (reader.is(6, 2))
      spec.description = reader.text();
    else if (reader.is(7, 0))
      spec.text = reader.bool();
    else
      reader.skip();
  }
  spec.shape = shape.map(Number);
  return spec;
}

/** Two fields of a message: an entry of a map, or a path and its reason. */
function readPair<Value>(reader: Reader, read: (reader: Reader) => Value, otherwise: Value): [string, Value] {
  let name = "";
  let value = otherwise;
  const wire = typeof otherwise === "number" ? 1 : 2;
  while (reader.next()) {
    if (reader.is(1, 2))
      name = reader.text();
    else if (reader.is(2, wire))
      value = read(reader);
    else
      reader.skip();
  }
  return [name, value];
}

function readDescription(reader: Reader): ModelDescription {
  const model: ModelDescription = {
    model: "",
    version: 0n,
    state: stateNames[0],
    task: "",
    inputs: [],
    outputs: [],
    labels: [],
    digest: "",
    signer: "",
    created: new Date(0),
    metrics: Object.create(null) as Record<string, number>,
    lineage: Object.create(null) as Record<string, string>,
    precision: "",
    isa: "",
    residentBytes: 0n,
    plan: [],
  };
  while (reader.next()) {
    if (reader.is(1, 2))
      model.model = reader.text();
    else if (reader.is(2, 0))
      model.version = reader.varint();
    else if (reader.is(3, 0))
      model.state = stateName(reader.number());
    else if (reader.is(4, 2))
      model.task = reader.text();
    else if (reader.is(5, 2))
      model.inputs.push(readSpec(reader.message()));
    else if (reader.is(6, 2))
      model.outputs.push(readSpec(reader.message()));
    else if (reader.is(7, 2))
      model.labels.push(reader.text());
    else if (reader.is(8, 2))
      model.digest = reader.text();
    else if (reader.is(9, 2))
      model.signer = reader.text();
    else if (reader.is(10, 0))
      model.created = new Date(reader.number());
    else if (reader.is(11, 2)) {
      const [name, value] = readPair(reader.message(), (entry) => entry.double(), 0);
      model.metrics[name] = value;
    } else if (reader.is(12, 2)) {
      const [name, value] = readPair(reader.message(), (entry) => entry.text(), "");
      model.lineage[name] = value;
    } else if (reader.is(13, 2))
      model.precision = reader.text();
    else if (reader.is(14, 2))
      model.isa = reader.text();
    else if (reader.is(15, 0))
      model.residentBytes = reader.varint();
    else if (reader.is(16, 2))
      model.plan.push(reader.text());
    else
      reader.skip();
  }
  return model;
}
