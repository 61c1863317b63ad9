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
    if let value = DigitReader.shortNumber(UnsafeRawBufferPointer(field)) { return value }
    return parseAny(trimmed(field))
  }

  @inline(never)
  private static func parseAny(_ text: UnsafeBufferPointer<UInt8>) -> Double? {
    guard let start = text.baseAddress, !text.isEmpty, text.count <= bytesMax else { return nil }
    var digits = DigitReader(UnsafeRawPointer(start), count: text.count)
    let sign = digits.takeSign()
    digits.takeDigits()
    var exponent = 0
    if digits.take(UInt8(ascii: ".")) {
      let whole = digits.count
      digits.takeDigits()
      exponent = whole - digits.count
    }
    guard digits.count > 0 else { return nil }
    if digits.isNotAtEnd {
      guard digits.take(UInt8(ascii: "e")) || digits.take(UInt8(ascii: "E")),
        let written = parseExponent(text, from: digits.offset)
      else { return nil }
      exponent += written
    }
    guard digits.count <= DigitReader.exactDigitsMax,
      let value = Decimal64(significand: digits.value, exponent: exponent).nearestDouble
    else { return parseWithLibrary(text) }
    return Double(bitPattern: value.bitPattern ^ sign)
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

  /// Reads a decimal number that is known to be one.
  @inline(never)
  private static func parseWithLibrary(_ text: UnsafeBufferPointer<UInt8>) -> Double {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: text.count + 1) { copy in
      for position in 0..<text.count { copy[position] = CChar(bitPattern: text[position]) }
      copy[text.count] = 0
      return strtod(copy.baseAddress!, nil)
    }
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
      let digit = text[index] &- UInt8(ascii: "0")
      guard digit < 10 else { return nil }
      exponent = min(exponent * 10 + Int(digit), 100_000)
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
