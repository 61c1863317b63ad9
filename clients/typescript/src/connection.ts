import * as net from "net";
import * as tls from "tls";
import {NeedletailError, statusError, violation} from "./errors";
import {authenticateCall, readResponse, requestHead, Response} from "./messages";
import {Settings} from "./options";

/** A connection that was silent for so long under a call that ran out of time is taken for dead. */
const SILENCE_MS_MAX = 1000;
/** Answers of calls that were given up may a connection owe. */
const ABANDONED_MAX = 4096;
/** Node's timers take 31 bits; longer ones are set anew. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** When a call must be over, and who may end it before. */
export interface Limits {
  /** On the clock of `performance.now()`. */
  deadline: number;
  signal?: AbortSignal;
}

interface Attempt {
  id: number;
  end: (outcome: Response|unknown, isAnswer: boolean) => void;
}

/** Calls work after so many milliseconds, or after as many as a timer takes. */
export function startTimer(ms: number, work: () => void): unknown {
  return setTimeout(work, Math.min(Math.max(0, Math.ceil(ms)), TIMER_MS_MAX));
}

/** A connected socket, with any number of calls in flight. */
export class Connection {
  private readonly socket: net.Socket;
  private chunks: Uint8Array[] = [];
  private buffered = 0;
  private nextId = 1;
  /** By id; undefined: nobody waits for the answer. */
  private readonly calls = new Map<number, Attempt|undefined>();
  /** Calls that wait for their answer. */
  waiting = 0;
  private silentSince = performance.now();
  private isCorked = false;
  private failure: NeedletailError|undefined;
  /** No new call: the server stops, or refused a frame. */
  private drains = false;

  get isUsable(): boolean {
    return this.failure === undefined && !this.drains;
  }

  /** Connects, encrypts and shows the key, as the settings say. */
  static async open(settings: Settings, limits: Limits): Promise<Connection> {
    const deadline = Math.min(limits.deadline, performance.now() + settings.connectTimeoutMs);
    const socket = await connect(settings, deadline);
    const connection = new Connection(socket, settings.answerBytesMax);
    if (settings.apiKey !== "") {
      try {
        const response = await connection.call(authenticateCall(settings.apiKey), {deadline});
        const status = response.status;
        if (status && status.code !== 0) throw statusError(status);
      } catch (error) {
        connection.close("the connection did not begin");
        if (error instanceof NeedletailError && error.origin === "time") {
          throw new NeedletailError(
              "UNAVAILABLE", "connect", "the server did not look at the key within the time given");
        }
        throw error;
      }
    }
    return connection;
  }

  private constructor(socket: net.Socket, private readonly answerBytesMax: number) {
    this.socket = socket;
    socket.unref();
    socket.on("data", (data) => this.receive(data));
    socket.on("error", (error) => this.die(lost(error)));
    const ended = (): void =>
        this.die(new NeedletailError("UNAVAILABLE", "lost", "the server closed the connection before the answer"));
    socket.on("end", ended);
    socket.on("close", ended);
  }

  /** Sends a request and waits for its answer. `body` is a `Request` without id and budget. */
  call(body: Uint8Array, limits: Limits): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (this.failure || this.drains) {
        reject(this.failure ?? stopping());
        return;
      }
      if (limits.signal?.aborted) {
        reject(limits.signal.reason);
        return;
      }
      const left = limits.deadline - performance.now();
      if (left <= 0) {
        reject(new NeedletailError("DEADLINE_EXCEEDED", "time", "the time was over before the request was sent"));
        return;
      }
      // Less than a microsecond is sent as one, for 0 would be no deadline.
      const timeoutUs = left === Infinity ? 0 : Math.min(Math.max(1, Math.floor(left * 1000)), 2 ** 32 - 1);
      const id = this.nextId++;
      let timer: unknown;
      const aborted = (): void => this.abandon(attempt, limits.signal?.reason);
      const attempt: Attempt = {
        id,
        end: (outcome, isAnswer) => {
          clearTimeout(timer);
          limits.signal?.removeEventListener("abort", aborted);
          if (--this.waiting === 0) this.socket.unref();
          if (isAnswer)
            resolve(outcome as Response);
          else
            reject(outcome);
        },
      };
      const wait = (): void => {
        const rest = limits.deadline - performance.now();
        if (rest > 0)
          timer = startTimer(rest, wait);
        else
          this.abandon(attempt, new NeedletailError("DEADLINE_EXCEEDED", "time", "no answer within the time given"));
      };
      if (left !== Infinity) timer = startTimer(left, wait);
      limits.signal?.addEventListener("abort", aborted);
      if (this.calls.size === 0) this.silentSince = performance.now();
      this.calls.set(id, attempt);
      if (this.waiting++ === 0) this.socket.ref();
      this.send(requestHead(id, timeoutUs), body);
    });
  }

  close(why: string): void {
    this.die(new NeedletailError("UNAVAILABLE", "lost", why));
  }

  private send(head: Uint8Array, body: Uint8Array): void {
    // Joined protobuf messages are one merged message: only the head differs between attempts.
    const frame = new Uint8Array(4 + head.length + body.length);
    new DataView(frame.buffer).setUint32(0, head.length + body.length);
    frame.set(head, 4);
    frame.set(body, 4 + head.length);
    if (!this.isCorked) {
      // What is asked in one turn of the event loop leaves in one piece.
      this.isCorked = true;
      this.socket.cork();
      queueMicrotask(() => {
        this.isCorked = false;
        this.socket.uncork();
      });
    }
    this.socket.write(frame);
  }

  /** Ends the wait for a call. Its answer is thrown away when it comes. */
  private abandon(attempt: Attempt, why: unknown): void {
    if (this.calls.get(attempt.id) !== attempt) return;
    this.calls.set(attempt.id, undefined);
    attempt.end(why, false);
    const isSilent = performance.now() - this.silentSince >= SILENCE_MS_MAX;
    const isTimeout = why instanceof NeedletailError;
    if ((isSilent && isTimeout) || this.calls.size - this.waiting > ABANDONED_MAX) {
      this.close("the server was silent for a second or more");
    }
    this.closeIfDrained();
  }

  /** Ends the connection, and every call that waits on it. */
  private die(failure: NeedletailError): void {
    if (this.failure) return;
    this.failure = failure;
    this.chunks = [];
    this.socket.destroy();
    this.endAbove(0n, failure);
  }

  private endAbove(lastId: bigint, failure: NeedletailError): void {
    for (const [id, attempt] of this.calls) {
      if (!attempt || BigInt(id) <= lastId) continue;
      this.calls.set(id, undefined);
      const {code, origin, message, retryAfterMs, detail} = failure;
      // All of them count as sent: a server may read a request, and close, before Node reports the write (over TLS it
      // does so a turn of its event loop later), and an error of a write does not say how many frames went before.
      attempt.end(new NeedletailError(code, origin, message, retryAfterMs, true, detail), false);
    }
  }

  private closeIfDrained(): void {
    if (this.drains && this.waiting === 0) this.die(stopping());
  }

  private receive(data: Uint8Array): void {
    this.silentSince = performance.now();
    this.chunks.push(data);
    this.buffered += data.length;
    try {
      for (let frame = this.nextFrame(); frame && !this.failure; frame = this.nextFrame())
        this.take(readResponse(frame));
    } catch (error) {
      this.die(error instanceof NeedletailError ? error : violation(`response: ${String(error)}`));
    }
  }

  /** The next frame, once it is whole. Chunks are kept as they came: memory grows with what arrives. */
  private nextFrame(): Uint8Array|undefined {
    if (this.failure || this.buffered < 4) return undefined;
    const head = this.gather(4);
    const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0);
    if (length < 1 || length > this.answerBytesMax) {
      throw violation(
          `frame length: expected 1 to ${this.answerBytesMax} bytes (answerBytesMax), found ${length}; ` +
              "is this the port of a Needletail server?",
      );
    }
    if (this.buffered < 4 + length) return undefined;
    const whole = this.gather(4 + length);
    this.buffered -= 4 + length;
    const rest = this.chunks[0].subarray(4 + length);
    if (rest.length > 0)
      this.chunks[0] = rest;
    else
      this.chunks.shift();
    return whole.subarray(4);
  }

  /** The first bytes, which stand in one chunk afterwards. */
  private gather(count: number): Uint8Array {
    if (this.chunks[0].length < count) {
      let joined = 0;
      let length = 0;
      while (length < count) length += this.chunks[joined++].length;
      const whole = new Uint8Array(length);
      let place = 0;
      for (const chunk of this.chunks.splice(0, joined)) {
        whole.set(chunk, place);
        place += chunk.length;
      }
      this.chunks.unshift(whole);
    }
    return this.chunks[0].subarray(0, count);
  }

  private take(response: Response): void {
    if (response.id === 0n) {
      this.takeUnsolicited(response);
      return;
    }
    const id = Number(response.id);
    if (!this.calls.has(id)) throw violation(`id: expected that of a call in flight, found ${response.id}`);
    const attempt = this.calls.get(id);
    this.calls.delete(id);
    attempt?.end(response, true);
    this.closeIfDrained();
  }

  /** An answer without a call: a GoAway, or a frame that the server could not read. */
  private takeUnsolicited(response: Response): void {
    this.drains = true;
    const status = response.status;
    if (status && status.code !== 0) {
      const failure = statusError(status);
      if (this.waiting > 1)
        this.close(`the server refused a frame: ${failure.message}`);
      else
        this.endAbove(0n, failure);
    } else if (response.goAway === undefined) {
      throw violation("id: expected that of a call, found 0 on something other than GoAway");
    } else {
      const why = "the server is stopping and did not execute the call";
      this.endAbove(response.goAway, new NeedletailError("UNAVAILABLE", "status", why));
    }
    this.closeIfDrained();
  }
}

function stopping(): NeedletailError {
  return new NeedletailError("UNAVAILABLE", "status", "the server is stopping");
}

function lost(error: Error&{code?: string}): NeedletailError {
  // With TLS 1.3 a server looks at the client's certificate when the handshake is over for its client.
  if (error.code?.startsWith("ERR_SSL")) {
    return new NeedletailError("UNAUTHENTICATED", "connect", `the server refused the connection: ${error.message}`);
  }
  return new NeedletailError("UNAVAILABLE", "lost", `the connection broke before the answer: ${error.message}`);
}

function connect(settings: Settings, deadline: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const encrypted = settings.tls;
    // The next address of a name is tried beside those that have not answered yet (RFC 8305).
    const options: Record<string, unknown> = {...settings.where, autoSelectFamily: true};
    if (encrypted) {
      options.secureContext = encrypted.secureContext;
      if (net.isIP(encrypted.serverName) === 0) options.servername = encrypted.serverName;
      options.checkServerIdentity = (_host: string, certificate: object) =>
          tls.checkServerIdentity(encrypted.serverName, certificate);
    }
    const socket = encrypted ? tls.connect(options) : net.connect(options);
    let isOver = false;
    const fail = (why: string): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      socket.destroy();
      reject(new NeedletailError("UNAVAILABLE", "connect", `could not connect to ${settings.name}: ${why}`));
    };
    const timer = startTimer(deadline - performance.now(), () => fail("it took longer than the time given"));
    socket.on("error", (error) => fail(error.message || error.code || "no address answers"));
    socket.on("close", () => fail("the server closed the connection"));
    socket.on(encrypted ? "secureConnect" : "connect", () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      if ("host" in settings.where) {
        socket.setNoDelay(true);
        socket.setKeepAlive(true, 10_000);
      }
      resolve(socket);
    });
  });
}
