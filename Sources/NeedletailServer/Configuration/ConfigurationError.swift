/// Why the server cannot be configured so: one sentence that says where the value came from, what was
/// expected and what was found.
public struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
  public let message: String

  public init(_ message: String) { self.message = message }

  public var description: String { message }
}
