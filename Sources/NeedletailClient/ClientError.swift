public import NeedletailCore

/// Why a call gave no answer.
public struct ClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Who said so.
  public enum Origin: Sendable, Equatable {
    /// The server answered with this status.
    case server
    /// No connection could be made.
    case connect
    /// The connection ended while the call was in flight.
    case connectionLost
    /// The call's own timer ran out before an answer came.
    case deadline
    /// The server announced its end before the call was sent, or without executing it.
    case goAway
    /// The caller's task was cancelled.
    case cancelled
    /// The client was closed.
    case closed
    /// The server sent bytes that are no answer.
    case protocolViolation
    /// The call cannot be encoded.
    case invalidInput
  }

  public let code: StatusCode
  public let origin: Origin
  /// One sentence.
  public let message: String
  /// When to try again; only with `.overloaded`.
  public let retryAfterMicroseconds: UInt32
  /// True if the server certainly did not execute the call.
  public let isSafeToRetry: Bool

  public init(
    _ code: StatusCode, origin: Origin, _ message: String, retryAfterMicroseconds: UInt32 = 0,
    isSafeToRetry: Bool? = nil
  ) {
    self.code = code
    self.origin = origin
    self.message = message
    self.retryAfterMicroseconds = retryAfterMicroseconds
    self.isSafeToRetry = isSafeToRetry ?? code.isSafeToRetry
  }

  public var description: String { "\(code): \(message)" }
}
