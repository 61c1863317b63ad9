internal import Glibc

/// A system call that failed: what was attempted, and the kernel's reason.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What was attempted, for example `open /models/wine`.
  public let call: String
  /// The value of `errno`.
  public let code: Int32

  /// Creates an error from a failed call. The text of `call` is built after `errno` was read, because building it may
  /// itself change `errno`.
  ///
  /// - Parameters:
  ///   - code: the value of `errno`; by default the calling thread's current one.
  ///   - call: what was attempted.
  public init(code: Int32 = SystemError.lastCode, _ call: @autoclosure () -> String) {
    self.code = code
    self.call = call()
  }

  /// The calling thread's `errno`.
  public static var lastCode: Int32 { errno }

  /// The C library's text of the code, in lower case, because it stands inside a message: `no such file or directory`.
  public var reason: String { String(cString: strerror(code)).lowercased() }

  /// `open /models/wine: no such file or directory`.
  public var description: String { "\(call): \(reason)" }

  /// Repeats a system call while a signal interrupts it.
  ///
  /// - Returns: the result of `body`, which is negative on failure, with `errno` set.
  public static func retrying<Result: SignedInteger>(_ body: () -> Result) -> Result {
    while true {
      let result = body()
      guard result < 0, errno == EINTR else { return result }
    }
  }

  /// Repeats a system call while a signal interrupts it, and throws if it fails.
  ///
  /// - Returns: the result of `body`, which is not negative.
  /// - Throws: the error of `body`, named by `call`.
  @discardableResult
  public static func check<Result: SignedInteger>(
    _ call: @autoclosure () -> String, _ body: () -> Result
  ) throws(SystemError) -> Result {
    let result = retrying(body)
    guard result >= 0 else { throw SystemError(code: errno, call()) }
    return result
  }
}
