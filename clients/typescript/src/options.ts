import {readFileSync} from "fs";
import {isIP} from "net";
import {createSecureContext} from "tls";
import {invalid} from "./errors";

const REQUEST_BYTES_DEFAULT = 16 << 20;
/** The longest frame that the protocol has. */
const FRAME_BYTES_CAP = 64 << 20;

/**
 * What is asked again: what was certainly not executed, and, unless `lost` is false, a call whose connection broke
 * under it, because repeating a call changes nothing there. The n-th retry waits the server's pause and a random time
 * between 0 and min(backoffMaxMs, backoffMs·2ⁿ). Over all calls of a client every call earns `budgetRatio` of a retry,
 * and at most `budgetBurst` are saved up.
 */
export interface Retries {
  /** Attempts of one call, the first included; 1: never retry. */
  attempts: number;
  backoffMs: number;
  backoffMaxMs: number;
  budgetRatio: number;
  budgetBurst: number;
  lost: boolean;
}

/** How to make sure of the server, and to show who the client is. Paths of PEM files. */
export interface Tls {
  /** Who must have issued the server's certificate; by default whom Node trusts. */
  ca?: string;
  /** The client's own certificate and key, for mutual TLS. */
  certificate?: string;
  key?: string;
  /** The name that the server's certificate must carry; by default the host of the address. */
  serverName?: string;
}

export interface ClientOptions {
  /** Shown on every connection. */
  apiKey?: string;
  /** For a call with all its retries that says nothing of its own; 5,000. Infinity: no deadline. */
  timeoutMs?: number;
  /** For one connection, TLS and key included; 1,000. */
  connectTimeoutMs?: number;
  /** How many connections there may be; 4. */
  connections?: number;
  /** Calls in flight on one connection before another is made; 64. */
  callsPerConnection?: number;
  /** The server's limits.frame_bytes_max; 16 MiB. */
  requestBytesMax?: number;
  /** 64 MiB, the most that a server sends. */
  answerBytesMax?: number;
  retries?: Partial<Retries>;
  /** true: encrypted, trusting whom Node trusts. */
  tls?: boolean|Tls;
}

/** Settings with their defaults, checked. */
export interface Settings {
  where: {path: string}|{
    host: string;
    port: number
  };
  name: string;
  apiKey: string;
  timeoutMs: number;
  connectTimeoutMs: number;
  connections: number;
  callsPerConnection: number;
  requestBytesMax: number;
  answerBytesMax: number;
  retries: Retries;
  tls?: {secureContext: object; serverName: string};
}

export function settingsOf(address: string, options: ClientOptions): Settings {
  const where = parseAddress(address);
  const settings: Settings = {
    where,
    name: address,
    apiKey: options.apiKey ?? "",
    timeoutMs: options.timeoutMs ?? 5000,
    connectTimeoutMs: options.connectTimeoutMs ?? 1000,
    connections: options.connections ?? 4,
    callsPerConnection: options.callsPerConnection ?? 64,
    requestBytesMax: options.requestBytesMax ?? REQUEST_BYTES_DEFAULT,
    answerBytesMax: options.answerBytesMax ?? FRAME_BYTES_CAP,
    retries: {
      attempts: 4,
      backoffMs: 10,
      backoffMaxMs: 1000,
      budgetRatio: 0.1,
      budgetBurst: 10,
      lost: true,
      ...options.retries
    },
  };
  const within = (name: string, value: number, least: number, most: number): void => {
    if (!(value >= least && value <= most)) throw invalid(`${name}: expected ${least} to ${most}, found ${value}`);
  };
  within("timeoutMs", settings.timeoutMs, Number.MIN_VALUE, Infinity);
  within("connectTimeoutMs", settings.connectTimeoutMs, Number.MIN_VALUE, 2 ** 31 - 1);
  within("connections", settings.connections, 1, 65536);
  within("callsPerConnection", settings.callsPerConnection, 1, 4096);
  within("requestBytesMax", settings.requestBytesMax, 1024, FRAME_BYTES_CAP);
  within("answerBytesMax", settings.answerBytesMax, 1, FRAME_BYTES_CAP);
  within("retries.attempts", settings.retries.attempts, 1, Infinity);
  within("retries.backoffMs", settings.retries.backoffMs, 0, settings.retries.backoffMaxMs);
  within("retries.budgetRatio", settings.retries.budgetRatio, 0, Infinity);
  within("retries.budgetBurst", settings.retries.budgetBurst, 0, Infinity);
  if (options.tls) {
    if ("path" in where)
      throw invalid("tls: expected a TCP address, found a Unix socket, over which calls are not encrypted");
    const tls = options.tls === true ? {} : options.tls;
    settings.tls = {secureContext: secureContext(tls), serverName: tls.serverName ?? where.host};
  }
  return settings;
}

function secureContext(tls: Tls): object {
  if ((tls.certificate === undefined) !== (tls.key === undefined)) {
    throw invalid("tls: expected a certificate and its key, found one of them");
  }
  const files: Record<string, Uint8Array> = {};
  for (const [name, path] of [["ca", tls.ca], ["cert", tls.certificate], ["key", tls.key]] as const) {
    if (path === undefined) continue;
    try {
      files[name] = readFileSync(path);
    } catch (error) {
      throw invalid(`tls: expected a readable PEM file, found: ${String(error)}`);
    }
    // Node takes a CA file without a certificate for one that trusts nobody.
    if (name === "ca" &&
        !new TextDecoder("utf-8", {fatal: false, ignoreBOM: true}).decode(files[name]).includes("BEGIN CERTIFICATE")) {
      throw invalid(`tls: expected certificates (PEM) in ${path}, found none`);
    }
  }
  try {
    return createSecureContext({...files, minVersion: "TLSv1.2"});
  } catch (error) {
    throw invalid(`tls: expected usable PEM files, found: ${String(error)}`);
  }
}

function parseAddress(text: string): {path: string}|{
  host: string;
  port: number
}
{
  if (text.startsWith("unix:")) {
    if (text.length === 5) throw invalid(`address: expected a path after 'unix:', found '${text}'`);
    return {path: text.slice(5)};
  }
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  const host = found?.[1] ?? found?.[2] ?? "";
  if (!found || port < 1 || port > 65535 || (found[1] !== undefined && isIP(found[1]) !== 6)) {
    throw invalid(`address: expected 'host:port', '[v6]:port' or 'unix:/path', found '${text}'`);
  }
  return {host, port};
}
