import {Connection, Limits, startTimer} from "./connection";
import {invalid, NeedletailError, statusError, violation} from "./errors";
import {addReport, checkOutcome, emptyReport, FeedbackReport, Outcome, OUTCOMES_MAX} from "./feedback";
import * as messages from "./messages";
import {ClientOptions, Settings, settingsOf} from "./options";
import {decode, encode, Inputs, NumberArray, Output} from "./tensors";

export interface CallOptions {
  /** For the call with all its retries; Infinity: no deadline. */
  timeoutMs?: number;
  /** Gives the call up. Its answer is thrown away when it comes. */
  signal?: AbortSignal;
}

export interface VersionOptions extends CallOptions {
  /** Ask this version, instead of the one that is served. */
  version?: number|bigint;
  /** Ask the version with this label, such as "canary". */
  label?: string;
}

export interface PredictOptions extends VersionOptions {
  /** Names of the outputs wanted; none: all of them. */
  outputs?: readonly string[];
  /** Calls with the same key see the same version of a split rollout. */
  routingKey?: string;
  /** Nobody waits for the answer, and others may go first. */
  bulk?: boolean;
  /** Name of the call, by which `feedback` finds its rows later; the routing key, if there is none. */
  key?: string;
  /** The trace that the call belongs to, as W3C Trace Context writes it. */
  traceparent?: string;
}

/** A model's answer. */
export class Prediction {
  constructor(
      readonly model: string,
      /** The version that answered; never 0. */
      readonly version: bigint,
      readonly outputs: ReadonlyMap<string, Output>,
      /** Microseconds in the server, and the rows computed together with these. */
      readonly timing: {queueUs: number; computeUs: number; batchRows: number},
  ) {}

  /** The predicted numbers of a regression, one a row. */
  get prediction(): number[] {
    return this.numbers("prediction");
  }

  /** The most likely label, one a row. */
  get labels(): string[] {
    const values = this.output("label").values;
    if (Array.isArray(values)) return values;
    throw violation('output "label": expected text, found numbers');
  }

  /** The index of the most likely class, one a row. */
  get classes(): number[] {
    return this.numbers("class");
  }

  /** The probability of every class, a list for each row. */
  get probabilities(): number[][] {
    const {shape} = this.output("probabilities");
    const values = this.numbers("probabilities");
    const [rows, columns] = [shape[0] ?? 0, shape[1] ?? 1];
    return Array.from({length: rows}, (_, row) => values.slice(row * columns, (row + 1) * columns));
  }

  /** The numbers of an output, row after row. */
  numbers(name: string): number[] {
    const values = this.output(name).values;
    if (Array.isArray(values)) throw violation(`output "${name}": expected numbers, found text`);
    return Array.from(values as Iterable<number|bigint>, Number);
  }

  private output(name: string): Output {
    const found = this.outputs.get(name);
    if (!found) throw new RangeError(`no output "${name}"; there are ${[...this.outputs.keys()].join(", ")}`);
    return found;
  }
}

export type {Output, NumberArray};

/**
 * A client with a pool of connections, for any number of calls at the same time.
 *
 *     const client = new Client("127.0.0.1:6470");
 *     const answer = await client.predict("diabetes", [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87]]);
 *     answer.prediction; // [208.17…]
 *
 * Nothing is connected before the first call. Idle connections do not keep the process alive.
 */
export class Client {
  private readonly settings: Settings;
  private pool: Connection[] = [];
  private connecting = 0;
  private waiters: (() => void)[] = [];
  private budget: number;
  private isClosed = false;

  /** A client for a server at "host:port", "[v6]:port" or "unix:/path". */
  constructor(address = "127.0.0.1:6470", options: ClientOptions = {}) {
    this.settings = settingsOf(address, options);
    this.budget = this.settings.retries.budgetBurst;
  }

  /** Asks a model. */
  async predict(model: string, inputs: Inputs, options: PredictOptions = {}): Promise<Prediction> {
    const {outputs = [], routingKey = "", bulk = false, key = "", traceparent = ""} = options;
    const body =
        messages.predictCall(model, selectorOf(options), encode(inputs), outputs, routingKey, bulk, key, traceparent);
    const answer = (await this.ask(body, options)).predict;
    if (!answer) throw violation("result: expected predict, found another or none");
    if (answer.version === 0n) throw violation("version: expected the version that answered, found 0");
    const {queueUs, computeUs, batchRows} = answer;
    const decoded = new Map(answer.outputs.map((tensor) => [tensor.name, decode(tensor)]));
    return new Prediction(answer.model, answer.version, decoded, {queueUs, computeUs, batchRows});
  }

  /**
   * Reports what became of predictions, so that the server can say how good a model is.
   *
   *     await client.predict("churn", rows, {key: "order-8812"});
   *     const report = await client.feedback("churn", [{key: "order-8812", row: 0, truth: "churned"}]);
   *
   * More than 1,024 outcomes are several calls, one after the other, each with the time of `options`; none are no call.
   * What was counted is not counted again, so that all of it may be repeated, also after an error. UNIMPLEMENTED means
   * that the server remembers nothing of the model.
   */
  async feedback(model: string, outcomes: readonly Outcome[], options: CallOptions = {}): Promise<FeedbackReport> {
    outcomes.forEach(checkOutcome);
    const report = emptyReport();
    for (let first = 0; first < outcomes.length; first += OUTCOMES_MAX) {
      const part = outcomes.slice(first, first + OUTCOMES_MAX);
      const answer = (await this.ask(messages.feedbackCall(model, part), options)).feedback;
      if (!answer) throw violation("result: expected feedback, found another or none");
      addReport(report, answer, first, part.length);
    }
    return report;
  }

  /** Whether the server lives and takes traffic, and the state of every model. */
  async health(options: CallOptions = {}): Promise<messages.Health> {
    const answer = (await this.ask(messages.healthCall(), options)).health;
    if (!answer) throw violation("result: expected health, found another or none");
    return answer;
  }

  /** The server's metrics as Prometheus text. */
  async metrics(options: CallOptions = {}): Promise<string> {
    const answer = (await this.ask(messages.metricsCall(), options)).metrics;
    if (answer === undefined) throw violation("result: expected metrics, found another or none");
    return answer;
  }

  /** The models with their versions, and stray files in the store. */
  async models(options: CallOptions = {}): Promise<messages.ModelList> {
    const answer = (await this.ask(messages.listModelsCall(), options)).listModels;
    if (!answer) throw violation("result: expected list_models, found another or none");
    return answer;
  }

  /** Version, features and limits of the server; UNIMPLEMENTED from one without this call. */
  async serverInfo(options: CallOptions = {}): Promise<messages.ServerInfo> {
    const answer = (await this.ask(messages.serverInfoCall(), options)).serverInfo;
    if (!answer) throw violation("result: expected server_info, found another or none");
    return answer;
  }

  /** Inputs, outputs, labels and origin of a model. */
  async describe(model: string, options: VersionOptions = {}): Promise<messages.ModelDescription> {
    const answer = (await this.ask(messages.describeModelCall(model, selectorOf(options)), options)).describeModel;
    if (!answer) throw violation("result: expected describe_model, found another or none");
    return answer;
  }

  /** Closes the connections. Calls under way fail. */
  close(): void {
    this.isClosed = true;
    for (const connection of this.pool.splice(0)) connection.close("the client is closed");
  }

  /** Makes a call and its repetitions. */
  private async ask(body: Uint8Array, options: CallOptions): Promise<messages.Response> {
    const {retries, requestBytesMax} = this.settings;
    // Id and budget take up to 17 bytes more.
    if (body.length > requestBytesMax - 32) {
      throw invalid(
          `request: expected at most ${requestBytesMax - 32} bytes (requestBytesMax), found ${
              body.length}; send fewer rows at once`,
      );
    }
    const timeoutMs = options.timeoutMs ?? this.settings.timeoutMs;
    if (!(timeoutMs > 0)) throw invalid(`timeoutMs: expected a number above 0, found ${timeoutMs}`);
    const limits: Limits = {deadline: performance.now() + timeoutMs, signal: options.signal};
    this.budget = Math.min(retries.budgetBurst, this.budget + retries.budgetRatio);
    for (let failed = 1;; failed++) {
      if (limits.signal?.aborted) throw limits.signal.reason;
      try {
        return await this.attempt(body, limits);
      } catch (error) {
        if (!(error instanceof NeedletailError) || limits.signal?.aborted) throw error;
        const wait = this.pauseAfter(error, failed, limits);
        if (wait === undefined) throw error;
        await pause(wait, limits);
      }
    }
  }

  private async attempt(body: Uint8Array, limits: Limits): Promise<messages.Response> {
    const response = await (await this.take(limits)).call(body, limits);
    const status = response.status;
    if (status && status.code !== 0) throw statusError(status);
    return response;
  }

  /** Milliseconds before the next attempt; undefined: there is none. */
  private pauseAfter(error: NeedletailError, failed: number, limits: Limits): number|undefined {
    const {attempts, backoffMs, backoffMaxMs, lost} = this.settings.retries;
    if (failed >= attempts || (error.code !== "OVERLOADED" && error.code !== "UNAVAILABLE")) return undefined;
    if (error.origin === "lost" && error.sent && !lost) return undefined;
    const wait = error.retryAfterMs + Math.random() * Math.min(backoffMaxMs, backoffMs * 2 ** (failed - 1));
    // The deadline first: a retry that cannot happen must not cost the budget.
    if (performance.now() + wait >= limits.deadline || this.budget < 1) return undefined;
    this.budget -= 1;
    return wait;
  }

  /** A connection for one more call: that with the fewest in flight, or a new one where all are busy. */
  private async take(limits: Limits): Promise<Connection> {
    for (;;) {
      if (this.isClosed) throw invalid("client: expected an open one, found a closed one");
      this.pool = this.pool.filter((connection) => connection.isUsable);
      let best: Connection|undefined;
      for (const connection of this.pool)
        if (!best || connection.waiting < best.waiting) best = connection;
      const hasRoom = this.pool.length + this.connecting < this.settings.connections;
      if (best && (best.waiting < this.settings.callsPerConnection || !hasRoom)) return best;
      if (hasRoom) return this.connect(limits);
      await this.connected(limits);
    }
  }

  private async connect(limits: Limits): Promise<Connection> {
    this.connecting++;
    try {
      const made = await Connection.open(this.settings, limits);
      if (this.isClosed)
        made.close("the client is closed");
      else
        this.pool.push(made);
      return made;
    } catch (error) {
      if (performance.now() >= limits.deadline) {
        throw new NeedletailError("DEADLINE_EXCEEDED", "time", "the time was over while connecting");
      }
      throw error;
    } finally {
      this.connecting--;
      for (const wake of this.waiters.splice(0)) wake();
    }
  }

  /** Waits until somebody else has made a connection, or has not. */
  private connected(limits: Limits): Promise<void> {
    return new Promise((resolve, reject) => {
      const left = limits.deadline - performance.now();
      const over = (): void =>
          reject(new NeedletailError("DEADLINE_EXCEEDED", "time", "the time was over while connecting"));
      const timer = left === Infinity ? undefined : startTimer(left, over);
      this.waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

function selectorOf(options: VersionOptions): messages.Selector {
  const {version, label} = options;
  if (version !== undefined && label !== undefined) {
    throw invalid(`selector: expected a version or a label, found both (${version} and "${label}")`);
  }
  if (version !== undefined && (BigInt(version) < 1n || BigInt(version) >= 2n ** 64n)) {
    throw invalid(`version: expected a number from 1 to 2^64 - 1, found ${version}`);
  }
  return {version, label};
}

/** Waits, or throws the signal's reason. */
function pause(ms: number, limits: Limits): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      clearTimeout(timer);
      reject(limits.signal?.reason);
    };
    const timer = startTimer(ms, () => {
      limits.signal?.removeEventListener("abort", aborted);
      resolve();
    });
    limits.signal?.addEventListener("abort", aborted);
  });
}
