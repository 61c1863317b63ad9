internal import Glibc

/// Numbers and truth values as text. The trainer, the server, the command line and the clients' tests read a value in
/// this one way, so that a model is never asked about another number than it was trained on.
public enum NumberText {
  /// Longer text is no number that anyone wrote.
  public static let bytesMax = 400

  /// Reads a decimal number: `[+-] digits [. digits] [e [+-] digits]` with a digit before or after the point, and
  /// spaces or tabs around it. Hexadecimal, `inf`, `nan` and separators of thousands are no numbers.
  ///
  /// - Returns: the nearest Double, infinity where the number is beyond all of them; nil if the text is no number.
  /// - Complexity: O(bytes); allocates nothing.
  public static func parse(_ field: UnsafeBufferPointer<UInt8>) -> Double? {
    let text = trimmed(field)
    guard !text.isEmpty, text.count <= bytesMax else { return nil }
    var index = 0
    var isNegative = false
    if text[0] == UInt8(ascii: "-") || text[0] == UInt8(ascii: "+") {
      isNegative = text[0] == UInt8(ascii: "-")
      index = 1
    }
    var mantissa: UInt64 = 0
    var digits = 0
    var significant = 0
    var fraction = 0
    var hasPoint = false
    while index < text.count {
      let byte = text[index]
      if byte == UInt8(ascii: ".") && !hasPoint {
        hasPoint = true
      } else if let digit = digitValue(byte) {
        digits += 1
        if significant > 0 || digit > 0 { significant += 1 }
        if significant <= 18 { mantissa = mantissa * 10 + UInt64(digit) }
        if hasPoint { fraction += 1 }
      } else {
        break
      }
      index += 1
    }
    guard digits > 0 else { return nil }
    var exponent = -fraction
    if index < text.count {
      guard text[index] | 0x20 == UInt8(ascii: "e"), let written = parseExponent(text, from: index + 1) else {
        return nil
      }
      exponent += written
    }
    // Clinger's fast path (1990): both factors are exact, so that there is one rounding.
    if significant <= 15, (-22...22).contains(exponent) {
      let value = Double(mantissa)
      let scaled = exponent < 0 ? value / powersOfTen[-exponent] : value * powersOfTen[exponent]
      return isNegative ? -scaled : scaled
    }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: text.count + 1) { copy in
      for position in 0..<text.count { copy[position] = CChar(bitPattern: text[position]) }
      copy[text.count] = 0
      return strtod(copy.baseAddress!, nil)
    }
  }

  /// Reads a decimal number from raw bytes; see ``parse(_:)-(UnsafeBufferPointer<UInt8>)``.
  public static func parse(_ text: UnsafeRawBufferPointer) -> Double? {
    text.withMemoryRebound(to: UInt8.self) { parse($0) }
  }

  /// Reads a decimal number from text; see ``parse(_:)-(UnsafeBufferPointer<UInt8>)``.
  public static func parse(_ text: some StringProtocol) -> Double? {
    var text = String(text)
    return text.withUTF8 { parse($0) }
  }

  /// Bounded so that a long exponent does not overflow; 10^±100,000 is beyond every Double.
  private static func parseExponent(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    var index = start
    var isNegative = false
    if index < text.count, text[index] == UInt8(ascii: "-") || text[index] == UInt8(ascii: "+") {
      isNegative = text[index] == UInt8(ascii: "-")
      index += 1
    }
    guard index < text.count else { return nil }
    var exponent = 0
    while index < text.count {
      guard let digit = digitValue(text[index]) else { return nil }
      exponent = min(exponent * 10 + digit, 100_000)
      index += 1
    }
    return isNegative ? -exponent : exponent
  }

  /// The bytes without spaces and tabs around them.
  public static func trimmed(_ field: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
    var low = 0
    var high = field.count
    while low < high, field[low] == 0x20 || field[low] == 0x09 { low += 1 }
    while high > low, field[high - 1] == 0x20 || field[high - 1] == 0x09 { high -= 1 }
    return UnsafeBufferPointer(rebasing: field[low..<high])
  }

  private static func digitValue(_ byte: UInt8) -> Int? {
    let digit = byte &- UInt8(ascii: "0")
    return digit < 10 ? Int(digit) : nil
  }

  private static let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
    1e20, 1e21, 1e22,
  ]

  /// Reads `true` or `false` in any case, with spaces or tabs around it.
  ///
  /// - Returns: nil for every other text.
  public static func parseBool(_ field: UnsafeBufferPointer<UInt8>) -> Bool? {
    let text = trimmed(field)
    switch text.count {
    case 4 where equals(text, "true"): return true
    case 5 where equals(text, "false"): return false
    default: return nil
    }
  }

  private static func equals(_ text: UnsafeBufferPointer<UInt8>, _ word: StaticString) -> Bool {
    (0..<text.count).allSatisfy { text[$0] | 0x20 == word.utf8Start[$0] }
  }
}
