/** Status codes of the protocol; proto/README.md says what each asks of a client. */
export type StatusCode =|"INVALID_ARGUMENT"|"NOT_FOUND"|"UNAUTHENTICATED"|"PERMISSION_DENIED"|"DEADLINE_EXCEEDED"|
    "OVERLOADED"|"UNAVAILABLE"|"INTERNAL"|"UNIMPLEMENTED";

/**
 * Where an error comes from: a status that the server sent, a request that was refused before anything was sent, no
 * connection, one that broke under the call, no answer in the time given, or an answer that is not the protocol.
 */
export type Origin = "status"|"caller"|"connect"|"lost"|"time"|"protocol";

/** The part of a request that an error is about. */
export interface ErrorDetail {
  /** A feature, an input tensor, or a field of the call, such as "model" or "outputs"; empty: of none. */
  field: string;
  /** The row of the call, counted from 0; undefined: no single row. */
  row?: bigint;
  /** A limit of the server that the request exceeds; undefined: none. */
  limit?: {name: string; maximum: bigint; found: bigint};
}

/** A call without an answer. One that was cancelled rejects with the reason of its signal instead. */
export class NeedletailError extends Error {
  constructor(
      readonly code: StatusCode,
      readonly origin: Origin,
      message: string,
      /** Milliseconds after which the server wants to be asked again; 0: it does not say. */
      readonly retryAfterMs = 0,
      /** The request of a lost connection was sent or being sent, so that the server may have run it. */
      readonly sent = false,
      /** What the error is about; undefined where the server does not say. */
      readonly detail?: ErrorDetail,
  ) {
    super(message);
    this.name = "NeedletailError";
  }
}

const codes: (StatusCode|undefined)[] = [
  undefined,
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "DEADLINE_EXCEEDED",
  "OVERLOADED",
  "UNAVAILABLE",
  "INTERNAL",
  "UNIMPLEMENTED",
];

/** A status as it stands in a response. */
export interface Status {
  code: number;
  message: string;
  retryAfterUs: number;
  detail?: ErrorDetail;
}

export function statusError({code, message, retryAfterUs, detail}: Status): NeedletailError {
  const known = codes[code];
  if (known === undefined) {
    return new NeedletailError("INTERNAL", "status", `status code ${code} is unknown to this client: ${message}`);
  }
  return new NeedletailError(known, "status", message, retryAfterUs / 1000, false, detail);
}

export function invalid(message: string): NeedletailError {
  return new NeedletailError("INVALID_ARGUMENT", "caller", message);
}

export function violation(message: string): NeedletailError {
  return new NeedletailError("INTERNAL", "protocol", message);
}
