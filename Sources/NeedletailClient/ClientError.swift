public import NeedletailCore

/// The reason why a call gave no answer.
public struct ClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The part that ended the call.
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

  /// Status of the protocol.
  public let code: StatusCode
  /// The part that ended the call: the server, the connection or the caller.
  public let origin: Origin
  /// One sentence for people: the field, what was expected, what was found.
  public let message: String
  /// Pause that the server asks for before the call is repeated; 0 unless the code is `.overloaded`.
  public let retryAfterMicroseconds: UInt32
  /// True if the server certainly did not execute the call.
  public let isSafeToRetry: Bool

  /// Makes an error.
  /// - Parameters:
  ///   - code: Status of the protocol.
  ///   - origin: The part that ended the call.
  ///   - message: One sentence for people.
  ///   - retryAfterMicroseconds: Pause before the call may be repeated; 0: none is asked for.
  ///   - isSafeToRetry: Whether the server certainly did not execute the call; nil: what the code implies.
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
