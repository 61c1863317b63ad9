/// How a call ended. Raw values are those of `needletail.v1.StatusCode`.
public enum StatusCode: UInt8, Sendable, CaseIterable, CustomStringConvertible {
  case ok = 0
  case invalidArgument = 1
  case notFound = 2
  case unauthenticated = 3
  case permissionDenied = 4
  case deadlineExceeded = 5
  case overloaded = 6
  case unavailable = 7
  case `internal` = 8
  case unimplemented = 9

  /// The name on the wire and in metric labels, e.g. `INVALID_ARGUMENT`.
  public var description: String {
    switch self {
    case .ok: "OK"
    case .invalidArgument: "INVALID_ARGUMENT"
    case .notFound: "NOT_FOUND"
    case .unauthenticated: "UNAUTHENTICATED"
    case .permissionDenied: "PERMISSION_DENIED"
    case .deadlineExceeded: "DEADLINE_EXCEEDED"
    case .overloaded: "OVERLOADED"
    case .unavailable: "UNAVAILABLE"
    case .internal: "INTERNAL"
    case .unimplemented: "UNIMPLEMENTED"
    }
  }

  /// True where the call was certainly not executed, or would give the same answer again.
  public var isSafeToRetry: Bool { self == .overloaded || self == .unavailable }
}
