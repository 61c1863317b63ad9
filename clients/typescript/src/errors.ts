/** Status codes of the protocol; proto/README.md says what each asks of a client. */
export type StatusCode =|"INVALID_ARGUMENT"|"NOT_FOUND"|"UNAUTHENTICATED"|"PERMISSION_DENIED"|"DEADLINE_EXCEEDED"|
    "OVERLOADED"|"UNAVAILABLE"|"INTERNAL"|"UNIMPLEMENTED";

/**
 * Where an error comes from: a status that the server sent, a request that was refused before anything was sent, no
 * connection, one that broke under the call, no answer in the time given, or an answer that is not the protocol.
 */
export type Origin = "status"|"caller"|"connect"|"lost"|"time"|"protocol";

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

export function statusError(code: number, message: string, retryAfterUs: number): NeedletailError {
  const known = codes[code];
  if (known === undefined) {
    return new NeedletailError("INTERNAL", "status", `status code ${code} is unknown to this client: ${message}`);
  }
  return new NeedletailError(known, "status", message, retryAfterUs / 1000);
}

export function invalid(message: string): NeedletailError {
  return new NeedletailError("INVALID_ARGUMENT", "caller", message);
}

export function violation(message: string): NeedletailError {
  return new NeedletailError("INTERNAL", "protocol", message);
}
