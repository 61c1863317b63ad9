package needletail;

import java.time.Duration;
import needletail.v1.ErrorDetail;
import needletail.v1.Status;

/** A call without an answer. One that was cancelled, or interrupted, throws a CancellationException instead. */
public final class NeedletailException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** Status codes of the protocol, with its numbers; proto/README.md says what each asks of a client. */
  public enum Code {
    OK,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNAUTHENTICATED,
    PERMISSION_DENIED,
    DEADLINE_EXCEEDED,
    OVERLOADED,
    UNAVAILABLE,
    INTERNAL,
    UNIMPLEMENTED
  }

  /** Where an error comes from. */
  public enum Origin {
    /** A status that the server sent. */
    SERVER,
    /** A request that was refused before anything was sent. */
    CALLER,
    /** No connection could be made. */
    CONNECTION_FAILED,
    /** The connection broke under the call. */
    CONNECTION_LOST,
    /** There was no answer in the time given. */
    TIME_OVER,
    /** What came is not the Needletail protocol. */
    PROTOCOL_VIOLATION
  }

  private final Code code;
  private final Origin origin;
  private final Duration retryAfter;
  private final boolean isSent;
  /** Not kept where the exception is serialised: messages of protobuf are sent as themselves. */
  private final transient ErrorDetail detail;

  NeedletailException(Code code, Origin origin, String message, Duration retryAfter, boolean isSent, Throwable cause) {
    this(code, origin, message, retryAfter, isSent, cause, null);
  }

  private NeedletailException(Code code, Origin origin, String message, Duration retryAfter, boolean isSent,
      Throwable cause, ErrorDetail detail) {
    super(message, cause);
    this.code = code;
    this.origin = origin;
    this.retryAfter = retryAfter;
    this.isSent = isSent;
    this.detail = detail;
  }

  static NeedletailException of(Code code, Origin origin, String message) {
    return new NeedletailException(code, origin, message, Duration.ZERO, false, null);
  }

  static NeedletailException invalid(String format, Object... values) {
    return of(Code.INVALID_ARGUMENT, Origin.CALLER, String.format(format, values));
  }

  static NeedletailException violation(String format, Object... values) {
    return of(Code.INTERNAL, Origin.PROTOCOL_VIOLATION, String.format(format, values));
  }

  static NeedletailException lost(String message) {
    return of(Code.UNAVAILABLE, Origin.CONNECTION_LOST, message);
  }

  static NeedletailException late(String message) {
    return of(Code.DEADLINE_EXCEEDED, Origin.TIME_OVER, message);
  }

  static NeedletailException of(Status status) {
    int number = status.getCodeValue();
    if (number <= 0 || number >= Code.values().length) {
      return of(
          Code.INTERNAL, Origin.SERVER, "status code " + number + " is unknown to this client: " + status.getMessage());
    }
    // Unsigned in the protocol.
    Duration pause = Duration.ofNanos((status.getRetryAfterUs() & 0xffffffffL) * 1000);
    return new NeedletailException(Code.values()[number], Origin.SERVER, status.getMessage(), pause, false, null,
        status.hasDetail() ? status.getDetail() : null);
  }

  /** The same error for one of the calls of a connection, with a stack of its own. */
  NeedletailException forCall(boolean isSent) {
    return new NeedletailException(code, origin, getMessage(), retryAfter, isSent, getCause(), detail);
  }

  public Code code() {
    return code;
  }

  public Origin origin() {
    return origin;
  }

  /** When the server wants to be asked again; zero where it does not say. */
  public Duration retryAfter() {
    return retryAfter;
  }

  /** Whether the request of a lost connection was sent or being sent, so that the server may have run it. */
  public boolean isSent() {
    return isSent;
  }

  /** What the error is about: a field, a row, a limit; null where the server does not say. */
  public ErrorDetail detail() {
    return detail;
  }

  @Override
  public String toString() {
    return "NeedletailException: " + code + ": " + getMessage();
  }
}
