/// Why a call got no answer: a code for programs and one sentence for people.
///
/// The sentence names the field, what was expected and what was found. It never holds an address or
/// a path, for it goes to clients.
public struct ServingError: Error, Equatable, Sendable, CustomStringConvertible {
  public let code: StatusCode
  public let message: String
  /// When to try again; only with `.overloaded`.
  public let retryAfterMicroseconds: UInt32

  public init(_ code: StatusCode, _ message: String, retryAfterMicroseconds: UInt32 = 0) {
    self.code = code
    self.message = message
    self.retryAfterMicroseconds = retryAfterMicroseconds
  }

  public var description: String { "\(code): \(message)" }

  public static func invalidArgument(_ message: String) -> ServingError { .init(.invalidArgument, message) }
  public static func notFound(_ message: String) -> ServingError { .init(.notFound, message) }
  public static func unauthenticated(_ message: String) -> ServingError { .init(.unauthenticated, message) }
  public static func permissionDenied(_ message: String) -> ServingError { .init(.permissionDenied, message) }
  public static func unavailable(_ message: String) -> ServingError { .init(.unavailable, message) }
  public static func deadlineExceeded(_ message: String) -> ServingError { .init(.deadlineExceeded, message) }
  public static func unimplemented(_ message: String) -> ServingError { .init(.unimplemented, message) }
  public static func `internal`(_ message: String) -> ServingError { .init(.internal, message) }
}

extension StringProtocol {
  /// The text in double quotes, control characters escaped, cut after 64 scalars:
  /// foreign text inside a message must neither forge log lines nor flood them.
  public var quotedForMessage: String {
    var quoted = "\""
    for (position, scalar) in unicodeScalars.enumerated() {
      guard position < 64 else {
        quoted += "…"
        break
      }
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      default:
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
          quoted += "\\u{" + String(scalar.value, radix: 16) + "}"
        default:
          quoted.unicodeScalars.append(scalar)
        }
      }
    }
    return quoted + "\""
  }
}
