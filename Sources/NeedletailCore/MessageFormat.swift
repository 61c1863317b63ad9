internal import Glibc

/// Figures and times inside messages, as people read them.
package enum MessageFormat {
  /// Time since a moment, for example `3 min ago`; `now` where the clock went back.
  /// Both parameters are milliseconds since 1970.
  package static func age(since milliseconds: UInt64, now: UInt64) -> String {
    let seconds = milliseconds < now ? (now - milliseconds) / 1000 : 0
    switch seconds {
    case 0: return "now"
    case ..<120: return "\(seconds) s ago"
    case ..<7200: return "\(seconds / 60) min ago"
    case ..<172_800: return "\(seconds / 3600) h ago"
    default: return "\(seconds / 86_400) d ago"
    }
  }

  /// Length of time, for example `840 µs`, `1.25 ms` or `3.1 s`.
  package static func duration(microseconds: UInt32) -> String {
    switch microseconds {
    case ..<1000: "\(microseconds) µs"
    case ..<1_000_000: "\(threeDigits(Double(microseconds) / 1e3)) ms"
    default: "\(threeDigits(Double(microseconds) / 1e6)) s"
    }
  }

  /// Number of events per second, for example `0`, `0.45`, `12.3` or `1,250`.
  package static func rate(_ perSecond: Double) -> String {
    // A figure of another server may be any number.
    perSecond < 999.5 ? threeDigits(perSecond) : grouped(UInt64(exactly: perSecond.rounded()) ?? .max)
  }

  /// Part of a whole from 0 to 1, for example `0 %`, `95 %`, `4.7 %` or `<0.1 %`.
  package static func share(_ share: Double) -> String {
    let percent = share * 100
    if percent > 0, percent < 0.1 { return "<0.1 %" }
    let tenths = Int((percent * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
  }

  /// Number of bytes, for example `12 KiB` or `3.4 MiB`.
  package static func bytes(_ bytes: UInt64) -> String {
    switch bytes {
    case ..<1024: "\(bytes) B"
    case ..<(1 << 20): "\(threeDigits(Double(bytes) / 1024)) KiB"
    case ..<(1 << 30): "\(threeDigits(Double(bytes) / Double(1 << 20))) MiB"
    default: "\(threeDigits(Double(bytes) / Double(1 << 30))) GiB"
    }
  }

  /// Whole number with groups of three digits, for example `1,250,000`.
  package static func grouped(_ number: UInt64) -> String {
    var text = ""
    for (index, digit) in String(number).reversed().enumerated() {
      if index > 0, index.isMultiple(of: 3) { text.append(",") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  /// Three digits of a number below 1,000 that is not negative, without trailing zeros.
  private static func threeDigits(_ value: Double) -> String {
    let decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
    let scale = decimals == 0 ? 1 : decimals == 1 ? 10 : 100
    let scaled = Int((value * Double(scale)).rounded())
    var text = "\(scaled / scale)"
    if decimals > 0, scaled % scale != 0 {
      var fraction = "\(scaled % scale)"
      while fraction.count < decimals { fraction = "0" + fraction }
      while fraction.last == "0" { fraction.removeLast() }
      text += "." + fraction
    }
    return text
  }
}

extension String {
  /// The text, of which at most so many bytes are kept, with an ellipsis behind a text that was cut.
  package func cut(toBytes bytesMax: Int) -> String {
    guard utf8.count > bytesMax else { return self }
    var end = utf8.index(startIndex, offsetBy: bytesMax)
    // Moves back to the beginning of a Unicode scalar.
    while end > startIndex, UTF8.isContinuation(utf8[end]) { end = utf8.index(before: end) }
    return String(self[..<end]) + "…"
  }
}

extension StringProtocol {
  /// The text in double quotes, with control characters escaped, cut after 64 scalars: foreign text inside a message
  /// must neither forge log lines nor flood them.
  public var quotedForMessage: String { "\"\(escaped(quotes: true, scalarsMax: 64))\"" }

  /// The whole text with control characters escaped, for a line of a terminal: it moves no cursor and begins no line.
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

extension String {
  /// The text as a JSON string with its quotes. Every control character is escaped, so that it neither ends a line nor
  /// moves a cursor where the JSON is shown as it is.
  package var jsonQuoted: String {
    var result = "\""
    for scalar in unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      default:
        if scalar.isControlInText {
          let digits = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}

extension Unicode.Scalar {
  /// Whether the character is a control character (C0, DEL, C1) or one of the two separators that some programs take
  /// for the end of a line.
  package var isControlInText: Bool {
    value < 0x20 || (0x7F...0x9F).contains(value) || value == 0x2028 || value == 0x2029
  }
}

/// Names the known word nearest to a mistyped one, for messages like `unknown key "modle", did you mean "model"?`.
public enum Suggestion {
  /// The candidate with the smallest edit distance, which must be at most a third of the word's length.
  ///
  /// - Returns: nil where none is that near.
  /// - Complexity: O(candidates × length²): it is for error paths.
  public static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    let allowed = max(1, word.count / 3)
    var best: (word: String, distance: Int)?
    for candidate in candidates {
      let distance = editDistance(Array(word.lowercased().unicodeScalars), Array(candidate.lowercased().unicodeScalars))
      if distance <= allowed, best.map({ distance < $0.distance }) ?? true {
        best = (candidate, distance)
      }
    }
    return best?.word
  }

  /// The clause `, did you mean "x"?`, or an empty text where no candidate is near.
  public static func clause(for word: String, among candidates: some Sequence<String>) -> String {
    nearest(to: word, among: candidates).map { ", did you mean \($0.quotedForMessage)?" } ?? ""
  }

  /// Optimal string alignment distance: insertion, deletion, substitution and swap of neighbours cost 1.
  private static func editDistance(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
    guard !a.isEmpty, !b.isEmpty else { return max(a.count, b.count) }
    var beforePrevious = [Int](repeating: 0, count: b.count + 1)
    var previous = Array(0...b.count)
    for i in 1...a.count {
      var current = [i] + [Int](repeating: 0, count: b.count)
      for j in 1...b.count {
        let substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
        current[j] = min(previous[j] + 1, current[j - 1] + 1, substitution)
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
          current[j] = min(current[j], beforePrevious[j - 2] + 1)
        }
      }
      beforePrevious = previous
      previous = current
    }
    return previous[b.count]
  }
}

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
