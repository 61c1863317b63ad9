// `_nfc` is the standard library's own normaliser, which keeps Foundation and its tables out of the server.
@_spi(_Unicode) internal import Swift

/// How a model reads text; `proto/README.md`, Values, numbers the statements. A schema without rules reads as bundles
/// before format 1.2 did: [V15].
public struct ValueRules: Equatable, Sendable {
  /// Texts that mean a missing value beside empty ones, each as ``ValueText/normalised(_:)`` gives it.
  public var missing: [String]
  /// Marks beside digits and a point that numbers as text may have.
  public var numbers: NumberStyle

  public init(missing: [String] = Self.missingDefault, numbers: NumberStyle = .plain) {
    self.missing = missing
    self.numbers = numbers
  }

  /// The words that spreadsheets, databases, R and Python write for a missing value.
  public static let missingDefault = [
    "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "?",
  ]

  /// True for a normalised text that means a missing value.
  public func isMissing(_ text: String) -> Bool {
    text.isEmpty || missing.contains { $0.utf8.elementsEqual(text.utf8) }
  }

  /// A text for a numeric feature.
  public func number(_ text: String) -> ValueText.Number {
    var text = text
    return text.withUTF8 { bytes in
      ValueText.number(UnsafeRawBufferPointer(bytes), style: numbers) { word in
        missing.contains { $0.utf8.elementsEqual(word) }
      }
    }
  }
}

/// The one reading of text that trainer, server and command line share.
public enum ValueText {
  /// Reading of a text for a numeric feature.
  public enum Number: Equatable, Sendable {
    /// A finite number that fp32 does not round to an infinity.
    case number(Double)
    case missing
    /// A number beyond fp32.
    case tooLarge
    case notANumber
  }

  /// Reading of a text for a feature of dates.
  public enum Moment: Equatable, Sendable {
    /// Seconds since 1970-01-01 00:00 UTC.
    case seconds(Double)
    case missing
    case notADate
  }

  /// The text without spaces around it, in Unicode's form NFC: [V2].
  public static func normalised(_ text: some StringProtocol) -> String {
    var text = String(text)
    return text.withUTF8 { normalised($0) } ?? ""
  }

  /// The text without spaces around it, in Unicode's form NFC: [V2].
  ///
  /// - Returns: nil where the bytes are not UTF-8.
  public static func normalised(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    let trimmed = NumberText.trimmed(bytes)
    guard let text = String(validating: trimmed, as: UTF8.self) else { return nil }
    guard mayNeedComposing(UnsafeRawBufferPointer(trimmed)) else { return text }
    var composed = ""
    composed.unicodeScalars.append(contentsOf: text._nfc)
    return composed
  }

  /// Lends the bytes by which a category is found: the normalised text, with the spellings of [V10] made one.
  ///
  /// Allocates only for text beyond Latin letters.
  /// - Returns: nil where the text is not UTF-8.
  public static func withCategoryKey<Result>(
    of text: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result? {
    withNormalised(of: text) { body(sameSpelling($0)) }
  }

  /// The bytes by which a category is found; see ``withCategoryKey(of:_:)``.
  public static func categoryKey(_ text: String) -> [UInt8] {
    var text = text
    return text.withUTF8 { withCategoryKey(of: UnsafeRawBufferPointer($0)) { Array($0) } ?? [] }
  }

  /// Reads a text for a numeric feature: [V4] to [V9].
  ///
  /// - Parameter isMissingWord: whether a normalised text that is not empty means a missing value.
  public static func number(
    _ text: UnsafeRawBufferPointer, style: NumberStyle = .plain, isMissingWord: (UnsafeRawBufferPointer) -> Bool
  ) -> Number {
    // Before numbers, for the word may be one: -999.
    if withNormalised(of: text, { $0.isEmpty || isMissingWord($0) }) == true { return .missing }
    if let number = text.withMemoryRebound(to: UInt8.self, { style.parse($0) }) {
      return Float(number).isFinite ? .number(number) : .tooLarge
    }
    let truth = text.withMemoryRebound(to: UInt8.self) { NumberText.parseBool($0) }
    return truth.map { .number($0 ? 1 : 0) } ?? .notANumber
  }

  /// Reads a text for a feature of dates: [V16] to [V19].
  ///
  /// - Parameter isMissingWord: whether a normalised text that is not empty means a missing value.
  public static func moment(
    _ text: UnsafeRawBufferPointer, order: DateOrder, isMissingWord: (UnsafeRawBufferPointer) -> Bool
  ) -> Moment {
    if withNormalised(of: text, { $0.isEmpty || isMissingWord($0) }) == true { return .missing }
    return DateText.parse(text, order: order).map { .seconds($0) } ?? .notADate
  }

  // MARK: - forms

  /// Lends the normalised bytes of a text.
  ///
  /// - Returns: nil where the text is not UTF-8.
  public static func withNormalised<Result>(
    of text: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result? {
    let trimmed = text.withMemoryRebound(to: UInt8.self) { UnsafeRawBufferPointer(NumberText.trimmed($0)) }
    if !trimmed.contains(where: { $0 >= 0x80 }) { return body(trimmed) }
    return trimmed.withMemoryRebound(to: UInt8.self) { bytes in
      guard var composed = normalised(bytes) else { return nil }
      return composed.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }
  }

  /// True where NFC may differ from the text. Scalars below U+0300, whose first byte is below CC, never combine.
  private static func mayNeedComposing(_ text: UnsafeRawBufferPointer) -> Bool { text.contains { $0 >= 0xCC } }

  /// `true` and `false` for truth values in any case, and whole numbers without a point and zeros behind it.
  private static func sameSpelling(_ text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    if let truth = text.withMemoryRebound(to: UInt8.self, { NumberText.parseBool($0) }) {
      let word: StaticString = truth ? "true" : "false"
      return UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount)
    }
    return UnsafeRawBufferPointer(rebasing: text.prefix(wholeNumberBytes(text) ?? text.count))
  }

  /// Number of bytes before the point of `-20.00`; nil for any other text.
  private static func wholeNumberBytes(_ text: UnsafeRawBufferPointer) -> Int? {
    func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }
    let first = text.first == UInt8(ascii: "-") ? 1 : 0
    guard let point = text.firstIndex(of: UInt8(ascii: ".")), point > first, point + 1 < text.count,
      text[first..<point].allSatisfy(isDigit), text[(point + 1)...].allSatisfy({ $0 == UInt8(ascii: "0") }),
      text[first] != UInt8(ascii: "0") || point == first + 1
    else { return nil }
    return point
  }
}
