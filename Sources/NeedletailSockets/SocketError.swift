internal import Glibc

/// A system call that failed, with the kernel's reason.
public struct SocketError: Error, Equatable, CustomStringConvertible {
  public let call: String
  /// Value of `errno`.
  public let code: Int32

  public init(_ call: String, code: Int32) {
    self.call = call
    self.code = code
  }

  /// The kernel's reason, without the name of the call.
  public var reason: String { String(cString: strerror(code)) }

  public var description: String { "\(call): \(reason)" }

  /// - Returns: `result` unless it is negative.
  /// - Throws: the error that `errno` holds.
  static func check(_ result: Int32, _ call: String) throws(SocketError) -> Int32 {
    guard result >= 0 else { throw SocketError(call, code: errno) }
    return result
  }
}
