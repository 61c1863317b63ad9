/// A call of Redis that failed.
public struct RedisError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// No connection, or it ended, or no answer came in time. The connection is of no use any more, and whether Redis did
    /// what it was asked is not known.
    case unreachable
    /// Redis refused the command; the connection is as it was.
    case refused
    /// What came back is not what the command answers.
    case malformed
  }

  public let reason: Reason
  /// One sentence. It holds no password.
  public let description: String

  public init(_ reason: Reason, _ description: String) {
    self.reason = reason
    self.description = description
  }
}
