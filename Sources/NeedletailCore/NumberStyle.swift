/// Marks that numbers are written with beside digits and a point: `1,234.50`, `1.234,50 €`, `3 %`. Raw values are those
/// of `needletail.v1.ValueRules`.
public struct NumberStyle: Equatable, Hashable, Sendable, BitwiseCopyable {
  /// Mark between groups of three digits.
  public enum Thousands: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case none = 0
    case comma = 1
    case point = 2
    /// U+0020, U+00A0 and U+202F.
    case space = 3
    /// U+0027 and U+2019.
    case apostrophe = 4
  }

  public var thousands: Thousands
  public var hasDecimalComma: Bool
  /// True where one sign of a currency or per cent may stand before or behind the number, and does not count.
  public var allowsUnits: Bool

  public init(thousands: Thousands = .none, hasDecimalComma: Bool = false, allowsUnits: Bool = false) {
    self.thousands = thousands
    self.hasDecimalComma = hasDecimalComma
    self.allowsUnits = allowsUnits
  }

  /// Digits and a point only.
  public static let plain = NumberStyle()

  public var isPlain: Bool { self == .plain }

  /// The marks for people: `a comma between thousands, a sign of a currency or %`; empty where there are none.
  public var words: String {
    let mark: String? =
      switch thousands {
      case .none: nil
      case .comma: "a comma"
      case .point: "a point"
      case .space: "a space"
      case .apostrophe: "an apostrophe"
      }
    return [
      mark.map { "\($0) between thousands" }, hasDecimalComma ? "a comma before decimals" : nil,
      allowsUnits ? "the sign of a currency or %" : nil,
    ].compactMap { $0 }.joined(separator: ", ")
  }

  /// The fault of marks that could not be told apart; nil where there is none.
  public var fault: String? {
    if thousands == .comma, hasDecimalComma { return "expected two marks for thousands and decimals, found the comma" }
    if thousands == .point, !hasDecimalComma { return "expected two marks for thousands and decimals, found the point" }
    return nil
  }

  /// Reads a number. Text that is a plain one is read as that, unless the point stands between thousands.
  ///
  /// - Returns: as ``NumberText/parse(_:)-(UnsafeBufferPointer<UInt8>)``.
  /// - Complexity: O(bytes); allocates nothing.
  public func parse(_ field: UnsafeBufferPointer<UInt8>) -> Double? {
    if thousands != .point, let number = NumberText.parse(field) { return number }
    guard !isPlain else { return nil }
    return styled(field)?.number
  }

  /// Reads a number and says which marks it was written with.
  ///
  /// - Returns: nil: the text is no number of this style.
  public func styled(_ field: UnsafeBufferPointer<UInt8>) -> (number: Double, marks: NumberStyle)? {
    let text = NumberText.trimmed(field)
    guard !text.isEmpty, text.count <= NumberText.bytesMax else { return nil }
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: text.count + 1) { plain in
      var reader = StyledNumber(text, self)
      guard let count = reader.write(to: plain) else { return nil }
      return NumberText.parse(UnsafeBufferPointer(rebasing: plain[..<count])).map { ($0, reader.marks) }
    }
  }
}

/// Rewrites one number without its marks.
private struct StyledNumber {
  private let text: UnsafeBufferPointer<UInt8>
  private let style: NumberStyle
  private var index = 0
  /// Marks found so far.
  private(set) var marks = NumberStyle.plain

  init(_ text: UnsafeBufferPointer<UInt8>, _ style: NumberStyle) {
    self.text = text
    self.style = style
  }

  /// - Returns: the number of bytes written; nil: the text is no number.
  mutating func write(to plain: UnsafeMutableBufferPointer<UInt8>) -> Int? {
    var count = 0
    func put(_ byte: UInt8) {
      plain[count] = byte
      count += 1
    }
    // Accountants write −5 as (5).
    let isInBrackets = style.allowsUnits && text.first == 0x28 && text.last == 0x29 && text.count > 2
    if isInBrackets {
      index = 1
      put(0x2D)
    }
    let end = isInBrackets ? text.count - 1 : text.count
    _ = takeUnit(until: end)
    if index < end, text[index] == 0x2D || text[index] == 0x2B {
      guard !isInBrackets else { return nil }
      put(text[index])
      index += 1
    }
    if !marks.allowsUnits { _ = takeUnit(until: end) }
    // Digits in groups: the first of one to three, all others of three, once there is a mark between any.
    var group = 0
    var hasMark = false
    while index < end {
      if text[index] &- 0x30 < 10 {
        put(text[index])
        group += 1
        index += 1
      } else if group > 0, let width = thousandsMark(until: end) {
        guard hasMark ? group == 3 : group <= 3 else { return nil }
        (hasMark, group) = (true, 0)
        marks.thousands = style.thousands
        index += width
      } else {
        break
      }
    }
    guard !hasMark || group == 3 else { return nil }
    if index < end, text[index] == (style.hasDecimalComma ? 0x2C : 0x2E) {
      if style.hasDecimalComma { marks.hasDecimalComma = true }
      put(0x2E)
      index += 1
    }
    while index < end, text[index] &- 0x30 < 10 || isExponent(at: index) {
      put(text[index])
      index += 1
    }
    if index < end, !marks.allowsUnits { _ = takeUnit(until: end) }
    return index == end ? count : nil
  }

  /// True for the `e` of an exponent, and for the sign behind one. The letters of `EUR` are none.
  private func isExponent(at place: Int) -> Bool {
    func isSign(_ byte: UInt8) -> Bool { byte == 0x2D || byte == 0x2B }
    if text[place] | 0x20 == 0x65 {
      return place + 1 < text.count && (text[place + 1] &- 0x30 < 10 || isSign(text[place + 1]))
    }
    return isSign(text[place]) && place > 0 && text[place - 1] | 0x20 == 0x65
  }

  /// Width of the mark at the index where a digit follows it; nil: none.
  private func thousandsMark(until end: Int) -> Int? {
    let width: Int
    switch style.thousands {
    case .none: return nil
    case .comma: width = text[index] == 0x2C ? 1 : 0
    case .point: width = text[index] == 0x2E ? 1 : 0
    case .space: width = text[index] == 0x20 ? 1 : has("\u{A0}") ? 2 : has("\u{202F}") ? 3 : 0
    case .apostrophe: width = text[index] == 0x27 ? 1 : has("\u{2019}") ? 3 : 0
    }
    guard width > 0, index + width < end, text[index + width] &- 0x30 < 10 else { return nil }
    return width
  }

  private func has(_ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard index + count <= text.count else { return false }
    return word.withUTF8Buffer { word in (0..<count).allSatisfy { text[index + $0] == word[$0] } }
  }

  /// Signs of currencies and per cent, and codes of currencies.
  private static let units: [StaticString] = [
    "$", "€", "£", "¥", "₹", "%", "US$", "EUR", "USD", "GBP", "CHF", "JPY",
  ]

  /// Skips one unit and the spaces between it and the number.
  private mutating func takeUnit(until end: Int) -> Bool {
    guard style.allowsUnits else { return false }
    let start = index
    skipSpaces(until: end)
    for unit in Self.units where index + unit.utf8CodeUnitCount <= end && has(unit) {
      index += unit.utf8CodeUnitCount
      skipSpaces(until: end)
      marks.allowsUnits = true
      return true
    }
    index = start
    return false
  }

  private mutating func skipSpaces(until end: Int) {
    while index < end {
      if text[index] == 0x20 {
        index += 1
      } else if has("\u{A0}"), index + 2 <= end {
        index += 2
      } else {
        return
      }
    }
  }
}
