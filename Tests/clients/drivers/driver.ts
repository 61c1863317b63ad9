// Conformance driver of the TypeScript client: requests as JSON, one a line; answers one line each. It compiles
// against the package's types, as a user's program does.

import {Client, ClientOptions, Column, Inputs, NeedletailError, Outcome, PredictOptions, Prediction} from "needletail";

declare const process: {stdin: AsyncIterable<Uint8Array>; stdout: {write(text: string): void};};

interface Tensor {
  name: string;
  type: string;
  shape: number[];
  values: (number|boolean|string|null)[];
}

interface Request {
  do: string;
  client: string;
  call: string;
  address: string;
  model: string;
  inputs: Tensor[];
  outcomes: {key: string; row?: number; label?: string; value?: number | null}[];
  threads: number;
  calls: number;
  [setting: string]: unknown;
}

type Answer = Record<string, unknown>;

function column(tensor: Tensor): Column {
  const numbers = tensor.values.map((value) => (value === null ? NaN : Number(value)));
  switch (tensor.type) {
    case "FLOAT32":
      return Float32Array.from(numbers);
    case "FLOAT64":
      return Float64Array.from(numbers);
    case "INT8":
      return Int8Array.from(numbers);
    case "INT16":
      return Int16Array.from(numbers);
    case "INT32":
      return Int32Array.from(numbers);
    case "INT64":
      return BigInt64Array.from(numbers, BigInt);
    case "UINT8":
      return Uint8Array.from(numbers);
    default:
      return tensor.values;
  }
}

function inputsOf(tensors: Tensor[]): Inputs {
  if (tensors.length === 1 && tensors[0].name === "features") {
    return {matrix: {columns: tensors[0].shape[1], values: column(tensors[0])}};
  }
  return Object.fromEntries(tensors.map((tensor) => [tensor.name, column(tensor)]));
}

function open(request: Request): Client {
  const given = <Value>(name: string): Value|undefined => request[name] as Value | undefined;
  const options: ClientOptions = {
    apiKey: given("api_key"),
    timeoutMs: given("timeout_ms"),
    requestBytesMax: given("request_bytes_max"),
    answerBytesMax: given("answer_bytes_max"),
    retries: {
      attempts: given("attempts") ?? 4,
      budgetRatio: given("budget_ratio") ?? 0.1,
      budgetBurst: given("budget_burst") ?? 10,
      lost: given("retry_lost") ?? true,
    },
  };
  if (request.ca !== undefined) {
    options.tls =
        {ca: given("ca"), certificate: given("certificate"), key: given("key"), serverName: given("server_name")};
  }
  return new Client(request.address, options);
}

function predictionOf(answer: Prediction): Answer {
  const outputs = [...answer.outputs.values()].map(
      (output) => ({
        name: output.name,
        type: output.type,
        shape: output.shape,
        values: Array.from(output.values as Iterable<unknown>, (value) => (Number.isNaN(value) ? null : value)),
      }));
  const {queueUs, computeUs, batchRows} = answer.timing;
  const timing = {queue_us: queueUs, compute_us: computeUs, batch_rows: batchRows};
  return {model: answer.model, version: answer.version, outputs, timing};
}

/** Asks for rows whose answers differ from call to call, so that a swapped answer shows. */
async function storm(client: Client, request: Request): Promise<Answer> {
  let wrong = 0;
  const thread = async(): Promise<void> => {
    for (let call = 0; call < request.calls; call++) {
      const [odd, third] = [call % 2 > 0, call % 3 > 0];
      const answer = await client.predict("grid", [[odd ? 11 : 10, 0, -3, third ? 101 : 100]]);
      if (answer.prediction[0] !== 41.375 + Number(odd) + 32 * Number(third)) wrong++;
    }
  };
  await Promise.all(Array.from({length: request.threads}, thread));
  return {wrong};
}

async function ask(client: Client, request: Request, signal?: AbortSignal): Promise<Answer> {
  const options = {signal} as PredictOptions;
  if (request.timeout_ms !== undefined) options.timeoutMs = (request.timeout_ms as number | null) ?? Infinity;
  if (request.version !== undefined) options.version = request.version as number;
  if (request.label !== undefined) options.label = request.label as string;
  const models = (found: Awaited<ReturnType<Client["health"]>>["models"]): Answer[] =>
      found.map(({model, servingVersion, versions}) => ({model, serving_version: servingVersion, versions}));
  switch (request.do) {
    case "health": {
      const health = await client.health(options);
      return {live: health.live, ready: health.ready, models: models(health.models)};
    }
    case "metrics":
      return {text: await client.metrics(options)};
    case "models":
      return {models: models((await client.models(options)).models)};
    case "describe":
      return {...(await client.describe(request.model, options))};
    case "server": {
      const {name, version, isa, features, limits} = await client.serverInfo(options);
      const {rowsMax, requestBytesMax, textBytesMax, idleMs} = limits;
      const told =
          {rows_max: rowsMax, request_bytes_max: requestBytesMax, text_bytes_max: textBytesMax, idle_ms: idleMs};
      return {name, version, isa, features, limits: told};
    }
    case "feedback": {
      const outcomes = request.outcomes.map(
          ({key, row, label, value}) => ({key, row, truth: value === null ? NaN : value ?? label}));
      return {...(await client.feedback(request.model, outcomes as Outcome[], options))};
    }
    case "storm":
      return storm(client, request);
    default:
      options.outputs = request.outputs as string[] | undefined;
      options.routingKey = request.routing_key as string | undefined;
      options.bulk = request.bulk as boolean | undefined;
      options.key = request.key as string | undefined;
      options.traceparent = request.traceparent as string | undefined;
      return predictionOf(await client.predict(request.model, inputsOf(request.inputs), options));
  }
}

function problem(error: unknown): Answer {
  if (!(error instanceof NeedletailError)) return {error: {code: "CANCELLED", message: String(error)}};
  const {code, origin, message, retryAfterMs, detail} = error;
  const {field = "", row, limit} = detail ?? {};
  return {error: {code, cause: origin, message, retry_after_us: Math.round(retryAfterMs * 1000), field, row, limit}};
}

const clients = new Map<string, Client>();
const calls = new Map < string, {
  controller: AbortController;
  answer: Promise<Answer>
}
>();

async function answer(request: Request): Promise<Answer> {
  const client = clients.get(request.client) as Client;
  const outcome = (signal?: AbortSignal): Promise<Answer> =>
      ask(client, request, signal).then((found) => ({ok: true, ...found}), problem);
  switch (request.do) {
    case "lacks":
      return {lacks: []};
    case "open":
      try {
        clients.set(request.client, open(request));
      } catch (error) {
        return problem(error);
      }
      return {ok: true};
    case "close":
      client.close();
      return {ok: true};
    case "start": {
      const controller = new AbortController();
      calls.set(request.call, {controller, answer: outcome(controller.signal)});
      return {ok: true};
    }
    case "finish":
      return (await calls.get(request.call)?.answer) as Answer;
    case "cancel":
      calls.get(request.call)?.controller.abort();
      return {ok: true};
    default:
      return outcome();
  }
}

/** JSON with big integers as digits. */
function json(value: Answer): string {
  const text = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? `bigint:${item}` : (item as unknown)));
  return text.replace(/"bigint:(-?\d+)"/g, "$1");
}

async function main(): Promise<void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of process.stdin) {
    rest += decoder.decode(chunk, {stream: true});
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      process.stdout.write(json(await answer(JSON.parse(line) as Request)) + "\n");
    }
  }
}

void main();
