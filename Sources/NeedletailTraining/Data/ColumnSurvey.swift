internal import NeedletailCore

/// Type of a column, and what else its reading takes.
struct ColumnReading: Equatable {
  var type: TableRequest.ColumnType
  /// Order of day and month; of dates only.
  var dateOrder = DateOrder.yearFirst
}

/// Texts of a column that are dates, with the day first, the month first, or the year.
struct DateTally {
  /// By the raw value of an order.
  private var counts = [0, 0, 0]
  /// Text in which either the day or the month may stand first, which are not the same.
  private var firstAmbiguous: String?
  /// By text, bits of the orders in which it is a date: columns repeat their texts, and reading one takes three tries.
  private var ordersByText = ByteDictionary()
  private static let textsMax = 4096

  /// - Parameter times: how often the text is there.
  /// - Returns: false for text that is no date in any order.
  mutating func add(_ text: UnsafeRawBufferPointer, times: Int = 1) -> Bool {
    let orders: Int32
    if let known = ordersByText.code(of: text) {
      orders = known
    } else {
      orders = self.orders(of: text)
      if ordersByText.count < Self.textsMax { ordersByText.insert(text, code: orders) }
    }
    guard orders != 0 else { return false }
    for order in counts.indices { counts[order] += times * (Int(orders >> Int32(order)) & 1) }
    return true
  }

  /// Bits of the orders in which a text is a date. What begins with the year is one in all of them.
  private mutating func orders(of text: UnsafeRawBufferPointer) -> Int32 {
    if DateText.parse(text, order: .yearFirst) != nil { return 0b111 }
    let dayFirst = DateText.parse(text, order: .dayFirst)
    let monthFirst = DateText.parse(text, order: .monthFirst)
    if let dayFirst, let monthFirst, dayFirst != monthFirst, firstAmbiguous == nil {
      firstAmbiguous = String(decoding: text, as: UTF8.self)
    }
    return (dayFirst == nil ? 0 : 0b010) | (monthFirst == nil ? 0 : 0b100)
  }

  /// Dates in the order that fits most texts.
  var most: Int { counts.max() ?? 0 }

  /// Order in which most texts are dates. Where two orders fit all of them, a point or a hyphen puts the day first, as
  /// in Europe, and a slash the month, as in America.
  var order: DateOrder {
    let best = DateOrder.allCases.filter { counts[Int($0.rawValue)] == most }
    if best.contains(.yearFirst) || best.count == 1 { return best[0] }
    return firstAmbiguous?.contains("/") ?? false ? .monthFirst : .dayFirst
  }

  /// A text that two orders read as two dates, where no text says which is meant.
  var ambiguous: String? { counts[1] == counts[2] ? firstAmbiguous : nil }
}

/// What the values of one column look like: its type follows from all of them.
struct ColumnSurvey {
  let name: String
  private let style: NumberStyle
  private(set) var numbers = 0
  private(set) var bools = 0
  private(set) var texts = 0
  private(set) var missing = 0
  /// Words for a missing value in quotes: text in a column of text, missing in one of numbers.
  private var quotedWords = 0
  /// Spaces inside texts.
  private var spaces = 0
  /// True while every number is 0 or 1, which beside truth values are truth values too.
  private var hasOnlyBits = true
  private var firstText: Place?
  private var dates = DateTally()
  private var firstNotDate: Place?
  /// Distinct whole numbers, counted until there are too many to be classes: bits of those below 64, and the others.
  private var smallNumbers: UInt64 = 0
  private var wholeNumbers: Set<Int> = []
  private(set) var isWhole = true

  private struct Place {
    var file: String
    var line: Int
    var text: String
  }

  /// Most distinct whole numbers that are taken for classes.
  static let classesMax = 20

  /// - Parameter style: marks that numbers may have.
  init(name: String, style: NumberStyle = .plain) {
    self.name = name
    self.style = style
  }

  /// Values that are there.
  var count: Int { numbers + bools + texts }

  /// - Parameter times: how often the field is there, the first time at this line.
  mutating func add(
    _ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, _ words: MissingWords, file: String, line: Int,
    times: Int = 1
  ) {
    if words.allowNumbersFirst(style), let number = NumberText.parse(field) {
      add(number, times: times)
    } else if words.isMissing(field, isQuoted: isQuoted) {
      missing += times
    } else if let number = style.parse(field) {
      add(number, times: times)
    } else if NumberText.parseBool(field) != nil {
      bools += times
    } else if isQuoted, words.isMissing(field, isQuoted: false) {
      quotedWords += times
    } else {
      texts += times
      spaces += times * NumberText.trimmed(field).count { $0 == UInt8(ascii: " ") }
      let place = { Place(file: file, line: line, text: String(decoding: field, as: UTF8.self)) }
      if firstText == nil { firstText = place() }
      if !dates.add(UnsafeRawBufferPointer(field), times: times), firstNotDate == nil { firstNotDate = place() }
    }
  }

  /// Takes a number, as the field before it would be.
  @inline(__always)
  mutating func add(_ number: Double, times: Int = 1) {
    numbers += times
    hasOnlyBits = hasOnlyBits && (number == 0 || number == 1)
    guard isWhole else { return }
    // A conversion there and back tells whole numbers in less time than rounding, which is a call on plain x86-64.
    if abs(number) < 1e9, Double(Int(number)) == number {
      if number >= 0, number < 64 {
        smallNumbers |= 1 << UInt64(number)
      } else if wholeNumbers.count <= Self.classesMax {
        wholeNumbers.insert(Int(number))
      }
    } else {
      isWhole = false
    }
  }

  private var wholeNumberCount: Int { smallNumbers.nonzeroBitCount + wholeNumbers.count }

  /// True where a word for a missing value stood in quotes.
  var hasQuotedWords: Bool { quotedWords > 0 }

  var dateOrder: DateOrder { dates.order }

  /// - Throws: `TrainingError` where the column is neither clearly numbers, dates nor text, or has no value at all.
  func inferredReading() throws(TrainingError) -> ColumnReading {
    guard count > 0 else {
      if quotedWords > 0 { return ColumnReading(type: .categorical) }
      throw TrainingError(
        .data,
        "column \(name.quotedForMessage): expected at least one value, found only missing ones; add it to data.drop")
    }
    if numbers == count { return ColumnReading(type: .numeric) }
    if bools > 0, texts == 0, hasOnlyBits { return ColumnReading(type: .bool) }
    if let firstText, numbers * 10 >= count * 9 {
      throw mixed("a number", numbers, firstText)
    }
    let dates = dates.most
    if dates == count { return ColumnReading(type: .datetime, dateOrder: dateOrder) }
    if dates * 10 >= count * 9, let place = firstNotDate { throw mixed("a date", dates, place) }
    return ColumnReading(type: .categorical)
  }

  private func mixed(_ what: String, _ fitting: Int, _ place: Place) -> TrainingError {
    .data(
      file: place.file, line: place.line, column: name,
      "expected \(what) as in \(fitting) of \(count) values, found \(place.text.quotedForMessage); "
        + "correct it, add it to data.missing, or declare the column categorical")
  }

  /// A sentence about dates that read two ways; nil where there is nothing to say.
  func orderWarning(_ order: DateOrder) -> String? {
    guard let ambiguous = dates.ambiguous else { return nil }
    let (chosen, other) = order == .dayFirst ? ("day", "month_first") : ("month", "day_first")
    return
      "column \(name.quotedForMessage): every date reads with the day first and with the month first, such as "
      + "\(ambiguous.quotedForMessage); the \(chosen) is taken first, and order: \(other) says otherwise"
  }

  /// Words of a value, on average, from which a column is free text rather than names.
  static let wordsOfTextMin = 3

  /// True where the values read like free text rather than names.
  var looksLikeText: Bool { texts > 0 && spaces >= (Self.wordsOfTextMin - 1) * texts }

  /// True where the values read like class labels rather than quantities.
  var looksLikeClasses: Bool {
    numbers == 0 || texts > 0 || bools > 0 || (isWhole && wholeNumberCount <= Self.classesMax)
  }
}

extension NumberStyle.Thousands {
  /// Word in run files.
  var name: String { "\(self)" }
}

extension DateOrder {
  /// Word in run files.
  var name: String {
    switch self {
    case .yearFirst: "year_first"
    case .dayFirst: "day_first"
    case .monthFirst: "month_first"
    }
  }
}
