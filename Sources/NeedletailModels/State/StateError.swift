/// Why the server's own state could not be read or written: one sentence with the file, what was
/// expected and what was found.
public struct StateError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: String, Sendable {
    /// The system refused to read or write.
    case io
    /// The file is not what this server writes.
    case malformed
    /// The file is longer than any that this server writes.
    case oversized
  }

  public let reason: Reason
  public let message: String

  public init(_ reason: Reason, _ message: String) {
    self.reason = reason
    self.message = message
  }

  public var description: String { message }
}
