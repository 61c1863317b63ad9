/// Why a call got no answer: a code for programs and one sentence for people.
///
/// The sentence names the field, what was expected and what was found. It never holds an address or
/// a path, for it goes to clients.
public struct ServingError: Error, Equatable, Sendable, CustomStringConvertible {
  public let code: StatusCode
  private let sentence: String
  /// When to try again; only with `.overloaded`.
  public let retryAfterMicroseconds: UInt32
  /// The model that the caller may have meant. The message asks, unless the caller may not know of it.
  public let suggestedModel: String?

  public init(
    _ code: StatusCode, _ sentence: String, retryAfterMicroseconds: UInt32 = 0, suggestedModel: String? = nil
  ) {
    self.code = code
    self.sentence = sentence
    self.retryAfterMicroseconds = retryAfterMicroseconds
    self.suggestedModel = suggestedModel
  }

  public var message: String {
    suggestedModel.map { "\(sentence), did you mean \($0.quotedForMessage)?" } ?? sentence
  }

  /// The same for a caller that may not know of the model suggested.
  public var withoutSuggestion: ServingError {
    ServingError(code, sentence, retryAfterMicroseconds: retryAfterMicroseconds)
  }

  public static func == (a: ServingError, b: ServingError) -> Bool {
    a.code == b.code && a.message == b.message && a.retryAfterMicroseconds == b.retryAfterMicroseconds
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
  public var quotedForMessage: String { "\"\(escaped(quotes: true, scalarsMax: 64))\"" }

  /// The whole text with control characters escaped, for a line of a terminal: it moves no cursor and
  /// begins no line.
  package var escapingControls: String { escaped(quotes: false, scalarsMax: .max) }

  private func escaped(quotes: Bool, scalarsMax: Int) -> String {
    var escaped = ""
    for (position, scalar) in unicodeScalars.enumerated() {
      guard position < scalarsMax else { return escaped + "…" }
      switch scalar {
      case "\"" where quotes: escaped += "\\\""
      case "\\" where quotes: escaped += "\\\\"
      case "\n": escaped += "\\n"
      case "\r": escaped += "\\r"
      case "\t": escaped += "\\t"
      default:
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
          escaped += "\\u{" + String(scalar.value, radix: 16) + "}"
        default:
          escaped.unicodeScalars.append(scalar)
        }
      }
    }
    return escaped
  }
}
