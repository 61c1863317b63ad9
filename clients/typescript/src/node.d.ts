// What the client uses of Node, so that it compiles without @types/node. It is no part of the package: the types that
// the client shows mention nothing of Node's.

declare module "net" {
  export interface Socket {
    on(event: "connect"|"secureConnect"|"close"|"end"|"drain", listener: () => void): this;
    on(event: "data", listener: (data: Uint8Array) => void): this;
    on(event: "error", listener: (error: Error&{code?: string}) => void): this;
    write(data: Uint8Array, done?: (error?: Error|null) => void): boolean;
    cork(): void;
    uncork(): void;
    destroy(): void;
    ref(): void;
    unref(): void;
    setNoDelay(on: boolean): void;
    setKeepAlive(on: boolean, ms: number): void;
  }
  export function connect(options: object): Socket;
  export function isIP(text: string): number;
}

declare module "tls" {
  import {Socket} from "net";
  export function connect(options: object): Socket;
  export function createSecureContext(options: object): object;
  export function checkServerIdentity(host: string, certificate: object): Error|undefined;
}

declare module "fs" {
  export function readFileSync(path: string): Uint8Array;
}

declare class TextEncoder {
  encode(text: string): Uint8Array;
}

declare class TextDecoder {
  constructor(encoding: string, options: {fatal: boolean; ignoreBOM: boolean});
  decode(bytes: Uint8Array): string;
}

/** A signal of Node's or of a browser's kind. */
interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

declare function setTimeout(work: () => void, ms: number): unknown;
declare function clearTimeout(timer: unknown): void;
declare function queueMicrotask(work: () => void): void;
declare function setImmediate(work: () => void): unknown;
declare const performance: {now(): number};
