#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Reads decimal text: `-1`, `.5`, `6.02e23`, with spaces around. Neither `nan` nor `inf`, no
/// hexadecimal, no digit grouping.
enum NumberText {
  /// Longer text is no number anyone wrote.
  private static let bytesMax = 128

  /// - Returns: nil where the text is no number; infinity where it is beyond Double.
  static func parse(_ text: UnsafeRawBufferPointer) -> Double? {
    var (start, end) = (0, text.count)
    while start < end, isSpace(text[start]) { start += 1 }
    while end > start, isSpace(text[end - 1]) { end -= 1 }
    guard end - start <= bytesMax, isDecimal(UnsafeRawBufferPointer(rebasing: text[start..<end])) else { return nil }
    // strtod wants a terminator, which foreign text lacks.
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: bytesMax + 1) { buffer in
      for i in start..<end { buffer[i - start] = CChar(bitPattern: text[i]) }
      buffer[end - start] = 0
      guard let base = buffer.baseAddress else { return nil }
      return strtod(base, nil)
    }
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

  /// `[+-] digits [. digits] [e [+-] digits]`, with a digit before or after the point.
  private static func isDecimal(_ text: UnsafeRawBufferPointer) -> Bool {
    var scanner = Scanner(text: text)
    scanner.skip("+", "-")
    var digits = scanner.skipDigits()
    if scanner.skip(".", ".") { digits += scanner.skipDigits() }
    guard digits > 0 else { return false }
    if scanner.skip("e", "E") {
      scanner.skip("+", "-")
      guard scanner.skipDigits() > 0 else { return false }
    }
    return scanner.at == text.count
  }

  private struct Scanner {
    let text: UnsafeRawBufferPointer
    var at = 0

    /// - Returns: how many there were.
    mutating func skipDigits() -> Int {
      let first = at
      while at < text.count, text[at] >= UInt8(ascii: "0"), text[at] <= UInt8(ascii: "9") { at += 1 }
      return at - first
    }

    @discardableResult
    mutating func skip(_ a: Unicode.Scalar, _ b: Unicode.Scalar) -> Bool {
      guard at < text.count, text[at] == UInt8(ascii: a) || text[at] == UInt8(ascii: b) else { return false }
      at += 1
      return true
    }
  }
}
