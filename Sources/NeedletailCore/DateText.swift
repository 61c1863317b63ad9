/// Order of day, month and year in a date that does not begin with its year. Raw values are those of
/// `needletail.v1.DateOrder`.
public enum DateOrder: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  /// Only dates that begin with the year, or name the month.
  case yearFirst = 0
  case dayFirst = 1
  case monthFirst = 2

  /// What text a feature takes, for people.
  public var words: String {
    switch self {
    case .yearFirst: "a date or time, such as 2024-03-31T12:30:00"
    case .dayFirst: "a date or time, such as 2024-03-31T12:30:00 or 31.3.2024"
    case .monthFirst: "a date or time, such as 2024-03-31T12:30:00 or 3/31/2024"
    }
  }
}

/// Dates and times as text: `proto/README.md`, [V16] to [V19]. Trainer, server and command line read them here.
public enum DateText {
  /// Longer text is no date that anyone wrote.
  public static let bytesMax = 64
  /// Seconds from 1970-01-01 to the first of January of the year 1, and to that of the year 10000.
  public static let range = -62_135_596_800.0..<253_402_300_800.0

  /// Reads a date, a time, or both.
  ///
  /// - Returns: seconds since 1970-01-01 00:00 UTC; nil: the text is no date.
  /// - Complexity: O(bytes); allocates nothing.
  public static func parse(_ text: UnsafeRawBufferPointer, order: DateOrder) -> Double? {
    let trimmed = text.withMemoryRebound(to: UInt8.self) { NumberText.trimmed($0) }
    guard let first = trimmed.first, trimmed.count <= bytesMax else { return nil }
    // Most text that is no date ends here: it begins with neither a digit, a sign nor the letter of a month.
    guard first &- 0x30 < 10 || first == 0x2D || Self.isLetter(first) else { return nil }
    var reader = DateReader(trimmed)
    guard let seconds = reader.read(order), range.contains(seconds) else { return nil }
    return seconds
  }

  public static func parse(_ text: String, order: DateOrder) -> Double? {
    var text = text
    return text.withUTF8 { parse(UnsafeRawBufferPointer($0), order: order) }
  }

  /// Text that reads back in every order as the same seconds, to a ten-millionth: `2024-03-01T12:30:00`.
  ///
  /// - Parameter seconds: within ``range``.
  public static func text(_ seconds: Double) -> String {
    let whole = seconds.rounded(.down)
    let day = Int((whole / 86_400).rounded(.down))
    let time = Int(whole) - day * 86_400
    let date = CivilDate(day: day)
    func padded(_ number: Int, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    var text = "\(padded(date.year, 4))-\(padded(date.month, 2))-\(padded(date.day, 2))"
    text += "T\(padded(time / 3600, 2)):\(padded(time / 60 % 60, 2)):\(padded(time % 60, 2))"
    let fraction = Int(((seconds - whole) * 1e7).rounded())
    guard fraction > 0, fraction < 10_000_000 else { return text }
    var digits = padded(fraction, 7)
    while digits.last == "0" { digits.removeLast() }
    return text + "." + digits
  }

  static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }
}

/// A day of the Gregorian calendar, which is continued to the years before it was introduced.
struct CivilDate {
  var year: Int
  var month: Int
  var day: Int

  init(year: Int, month: Int, day: Int) {
    self.year = year
    self.month = month
    self.day = day
  }

  /// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", 2013).
  init(day number: Int) {
    let shifted = number + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  /// Days since 1970-01-01.
  var dayNumber: Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }

  var exists: Bool {
    guard (1...9999).contains(year), (1...12).contains(month), day >= 1 else { return false }
    if month != 2 { return day <= (month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31) }
    return day <= ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28)
  }
}

/// Reads one text from its beginning to its end.
private struct DateReader {
  private let text: UnsafeBufferPointer<UInt8>
  private var index = 0

  init(_ text: UnsafeBufferPointer<UInt8>) { self.text = text }

  mutating func read(_ order: DateOrder) -> Double? {
    if let seconds = secondsSince1970() { return seconds }
    index = 0
    if isTimeAlone {
      guard let time = time(), index == text.count else { return nil }
      return time
    }
    guard let date = date(order), date.exists else { return nil }
    let midnight = Double(date.dayNumber * 86_400)
    guard index < text.count else { return midnight }
    if take(0x54) || take(0x74) {
      // The T between date and time.
    } else {
      _ = take(0x2C)
      guard takeSpaces() else { return nil }
    }
    guard let time = time(), index == text.count else { return nil }
    return midnight + time
  }

  /// A number of more than eight digits, or a negative one: seconds. A date that is written without separators has
  /// eight digits, and a year has four.
  private func secondsSince1970() -> Double? {
    guard text[0] == 0x2D || (text.count > 8 && text.prefix(9).allSatisfy { $0 &- 0x30 < 10 }) else { return nil }
    return NumberText.parse(text)
  }

  private var isTimeAlone: Bool {
    let digits = text.prefix { $0 &- 0x30 < 10 }.count
    return (1...2).contains(digits) && digits < text.count && text[digits] == 0x3A
  }

  // MARK: - dates

  private mutating func date(_ order: DateOrder) -> CivilDate? {
    if let month = monthName() {
      // `Mar 1, 2024`, `March 2024`
      _ = takeSpaces() || take(0x2D)
      guard let first = number(digitsMax: 4) else { return nil }
      if first.digits == 4 { return CivilDate(year: first.value, month: month, day: 1) }
      guard first.digits <= 2 else { return nil }
      _ = take(0x2C)
      guard takeSpaces() || take(0x2D), let year = year() else { return nil }
      return CivilDate(year: year, month: month, day: first.value)
    }
    guard let first = number(digitsMax: 8) else { return nil }
    switch first.digits {
    case 8: return CivilDate(year: first.value / 10_000, month: first.value / 100 % 100, day: first.value % 100)
    case 4:
      guard let separator = separator(), let month = monthName() ?? number(digitsMax: 2)?.value else { return nil }
      guard take(separator) else { return CivilDate(year: first.value, month: month, day: 1) }
      guard let day = number(digitsMax: 2) else { return nil }
      return CivilDate(year: first.value, month: month, day: day.value)
    case 1, 2:
      guard let separator = separator() ?? (takeSpaces() ? 0x20 : nil) else { return nil }
      if let month = monthName() {
        guard separator == 0x20 ? takeSpaces() : take(separator), let year = year() else { return nil }
        return CivilDate(year: year, month: month, day: first.value)
      }
      guard order != .yearFirst, separator != 0x20, let second = number(digitsMax: 2), take(separator),
        let year = year()
      else { return nil }
      return order == .dayFirst
        ? CivilDate(year: year, month: second.value, day: first.value)
        : CivilDate(year: year, month: first.value, day: second.value)
    default: return nil
    }
  }

  /// Four digits, or two: 69 to 99 are of the last century, as POSIX has it.
  private mutating func year() -> Int? {
    guard let number = number(digitsMax: 4) else { return nil }
    if number.digits == 4 { return number.value }
    guard number.digits == 2 else { return nil }
    return number.value + (number.value < 69 ? 2000 : 1900)
  }

  private static let months: [StaticString] = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
  ]

  /// An English month, whole or its first three letters, in any case; a point may follow.
  private mutating func monthName() -> Int? {
    var end = index
    while end < text.count, DateText.isLetter(text[end]) { end += 1 }
    let count = end - index
    guard count >= 3 else { return nil }
    for (number, name) in Self.months.enumerated() {
      let isMonth = name.withUTF8Buffer { name in
        (count == name.count || count == 3 || (count == 4 && number == 8))
          && (0..<count).allSatisfy { text[index + $0] | 0x20 == name[$0] }
      }
      guard isMonth else { continue }
      index = end
      _ = take(0x2E)
      return number + 1
    }
    return nil
  }

  // MARK: - times

  /// `12:30`, `12:30:45.5`, `1:30 PM`, with a zone or without: seconds from midnight UTC.
  private mutating func time() -> Double? {
    guard var hour = number(digitsMax: 2)?.value, take(0x3A), let minute = number(digitsMax: 2), minute.digits == 2
    else { return nil }
    var seconds = 0.0
    if take(0x3A) {
      guard let second = number(digitsMax: 2), second.digits == 2, second.value <= 60 else { return nil }
      seconds = Double(second.value)
      if take(0x2E) || take(0x2C) {
        guard let fraction = fraction() else { return nil }
        seconds += fraction
      }
    }
    let beforeHalf = index
    _ = takeSpaces()
    if let isAfternoon = half() {
      guard (1...12).contains(hour) else { return nil }
      hour = hour % 12 + (isAfternoon ? 12 : 0)
    } else {
      index = beforeHalf
    }
    guard hour < 24, minute.value < 60, let offset = zone() else { return nil }
    return Double(hour * 3600 + minute.value * 60) + seconds - Double(offset)
  }

  private mutating func fraction() -> Double? {
    var (value, scale, digits) = (0.0, 1.0, 0)
    while index < text.count, text[index] &- 0x30 < 10 {
      // Beyond nine digits a double of these seconds holds no more.
      if digits < 9 { (value, scale) = (value * 10 + Double(text[index] - 0x30), scale * 10) }
      digits += 1
      index += 1
    }
    return digits > 0 ? value / scale : nil
  }

  /// AM and PM.
  private mutating func half() -> Bool? {
    guard index + 1 < text.count, text[index + 1] | 0x20 == 0x6D else { return nil }
    let letter = text[index] | 0x20
    guard letter == 0x61 || letter == 0x70 else { return nil }
    index += 2
    return letter == 0x70
  }

  /// Seconds that the time is ahead of UTC: `Z`, `UTC`, `GMT`, `+02:00`, `-0530`, `+02`. None: it counts as UTC.
  private mutating func zone() -> Int? {
    guard index < text.count else { return 0 }
    _ = takeSpaces()
    if take(0x5A) || take(0x7A) || takeWord("utc") || takeWord("gmt") { return 0 }
    guard index < text.count, text[index] == 0x2B || text[index] == 0x2D else { return nil }
    let sign = text[index] == 0x2B ? 1 : -1
    index += 1
    guard let first = number(digitsMax: 4), first.digits % 2 == 0 else { return nil }
    var (hours, minutes) = (first.value, 0)
    if first.digits == 4 {
      (hours, minutes) = (first.value / 100, first.value % 100)
    } else if take(0x3A) {
      guard let second = number(digitsMax: 2), second.digits == 2 else { return nil }
      minutes = second.value
    }
    guard hours <= 18, minutes < 60 else { return nil }
    return sign * (hours * 3600 + minutes * 60)
  }

  // MARK: - bytes

  private mutating func number(digitsMax: Int) -> (value: Int, digits: Int)? {
    var (value, digits) = (0, 0)
    while index < text.count, text[index] &- 0x30 < 10 {
      digits += 1
      guard digits <= digitsMax else { return nil }
      value = value * 10 + Int(text[index] - 0x30)
      index += 1
    }
    return digits > 0 ? (value, digits) : nil
  }

  private mutating func separator() -> UInt8? {
    guard index < text.count, text[index] == 0x2D || text[index] == 0x2F || text[index] == 0x2E else { return nil }
    index += 1
    return text[index - 1]
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard index < text.count, text[index] == byte else { return false }
    index += 1
    return true
  }

  private mutating func takeWord(_ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard index + count <= text.count,
      word.withUTF8Buffer({ word in (0..<count).allSatisfy { text[index + $0] | 0x20 == word[$0] } })
    else { return false }
    index += count
    return true
  }

  private mutating func takeSpaces() -> Bool {
    let start = index
    while index < text.count, text[index] == 0x20 { index += 1 }
    return index > start
  }
}
