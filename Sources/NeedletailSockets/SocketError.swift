internal import Glibc

/// What the kernel refused, in its own words.
public struct SocketError: Error, Equatable, CustomStringConvertible {
  public let call: String
  /// Its `errno`.
  public let code: Int32

  public init(_ call: String, code: Int32) {
    self.call = call
    self.code = code
  }

  /// Without the call.
  public var reason: String { String(cString: strerror(code)) }

  public var description: String { "\(call): \(reason)" }

  /// - Returns: `result` unless that is negative.
  static func check(_ result: Int32, _ call: String) throws(SocketError) -> Int32 {
    guard result >= 0 else { throw SocketError(call, code: errno) }
    return result
  }
}
