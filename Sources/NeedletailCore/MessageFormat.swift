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
