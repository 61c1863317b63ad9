internal import NeedletailCSV
internal import NeedletailCore

/// What all values of one column look like, whatever type it may turn out to have.
struct ColumnFindings {
  let name: String
  private(set) var rows = 0
  private(set) var missing = 0
  private(set) var numbers = 0
  private(set) var bools = 0
  private(set) var texts = 0
  /// Texts that are numbers, by the index of a style of ``styles``, and the marks that they have.
  private(set) var styled = [Int](repeating: 0, count: Self.styles.count)
  private(set) var marks = [NumberStyle](repeating: .plain, count: Self.styles.count)
  private(set) var dates = DateTally()
  /// Texts that are neither numbers nor truth values, with their counts, for as long as they are few.
  private(set) var words: [String: Int] = [:]
  private(set) var hasFewWords = true
  /// True while plain numbers are whole, and while each is one more than the one before.
  private(set) var isWhole = true
  private(set) var isSequence = true
  private var previous = Double.nan
  private(set) var minimum = Double.infinity
  private(set) var maximum = -Double.infinity
  /// True while all numbers are 0 or 1.
  private(set) var hasOnlyBits = true
  /// Whole numbers of eight digits that are dates between 1900 and 2100.
  private(set) var compactDates = 0
  private(set) var hasPoint = false
  private(set) var leadingZeros = 0
  private(set) var beyondDoubles = 0
  private var hashes: Set<UInt64> = []
  /// False once there were too many to count: every further value counts as new.
  private(set) var isCounted = true
  private var uncounted = 0
  private var textBytes = 0
  /// Spaces inside texts.
  private var spaces = 0

  /// Styles of numbers that files are searched for.
  static let styles = [
    NumberStyle(thousands: .comma, allowsUnits: true),
    NumberStyle(thousands: .point, hasDecimalComma: true, allowsUnits: true),
    NumberStyle(thousands: .space, hasDecimalComma: true, allowsUnits: true),
    NumberStyle(thousands: .space, allowsUnits: true),
    NumberStyle(thousands: .apostrophe, allowsUnits: true),
  ]
  static let wordsMax = 64
  /// Distinct values that are counted: 4 MB a column.
  static let distinctMax = 1 << 18

  init(name: String) { self.name = name }

  var present: Int { rows - missing }
  /// Distinct values; at least so many where they are not all counted.
  var distinct: Int { hashes.count + uncounted }
  /// True where the values read like free text rather than names, as ``ColumnSurvey`` decides. A few of them may be
  /// numbers, as titles of films are.
  var looksLikeText: Bool {
    texts > 0 && texts * 10 >= present * 9 && spaces >= (ColumnSurvey.wordsOfTextMin - 1) * texts
  }
  var bytesPerText: Double { texts > 0 ? Double(textBytes) / Double(texts) : 0 }

  mutating func add(_ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, _ missingWords: MissingWords) {
    rows += 1
    guard !missingWords.isMissing(field, isQuoted: isQuoted) else {
      missing += 1
      return
    }
    if let number = NumberText.parse(field) {
      add(number, field)
      // Fractions are quantities: how many differ says nothing.
      if isWhole { count(field) }
      return
    }
    count(field)
    if NumberText.parseBool(field) != nil {
      bools += 1
    } else {
      add(text: field)
    }
  }

  private mutating func add(_ number: Double, _ field: UnsafeBufferPointer<UInt8>) {
    numbers += 1
    hasOnlyBits = hasOnlyBits && (number == 0 || number == 1)
    minimum = min(minimum, number)
    maximum = max(maximum, number)
    isWhole = isWhole && number == number.rounded()
    isSequence = isSequence && isWhole && (numbers == 1 || number == previous + 1)
    previous = number
    let text = NumberText.trimmed(field)
    if !isWhole { hasPoint = hasPoint || text.contains(UInt8(ascii: ".")) }
    guard isWhole else { return }
    if text.count == 8, number >= 19_000_101, number < 21_000_101,
      DateText.parse(UnsafeRawBufferPointer(text), order: .yearFirst) != nil
    {
      compactDates += 1
    }
    if text.count > 1, text[0] == UInt8(ascii: "0"), text[1] &- UInt8(ascii: "0") < 10 { leadingZeros += 1 }
    if text.count > 15, abs(number) > 0x1p53 { beyondDoubles += 1 }
  }

  private mutating func add(text field: UnsafeBufferPointer<UInt8>) {
    texts += 1
    textBytes += field.count
    spaces += NumberText.trimmed(field).count { $0 == UInt8(ascii: " ") }
    if hasFewWords {
      words[ValueText.normalised(field) ?? "", default: 0] += 1
      hasFewWords = words.count <= Self.wordsMax
    }
    for (index, style) in Self.styles.enumerated() {
      guard let found = style.styled(field) else { continue }
      styled[index] += 1
      if found.marks.thousands != .none { marks[index].thousands = found.marks.thousands }
      marks[index].hasDecimalComma = marks[index].hasDecimalComma || found.marks.hasDecimalComma
      marks[index].allowsUnits = marks[index].allowsUnits || found.marks.allowsUnits
    }
    _ = dates.add(UnsafeRawBufferPointer(field))
  }

  private mutating func count(_ field: UnsafeBufferPointer<UInt8>) {
    guard isCounted else {
      uncounted += 1
      return
    }
    // FNV-1a over the bytes, mixed at the end.
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in field { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    hash = (hash ^ (hash >> 32)) &* 0xD6E8_FEB8_6659_FD93
    hashes.insert(hash ^ (hash >> 32))
    isCounted = hashes.count < Self.distinctMax
  }
}

extension ColumnFindings {
  /// Findings of every column of some files, in the order of the first one's header.
  static func read(
    _ files: [(name: String, path: String)], format: DataFormat, missing: [String]
  ) throws(TrainingError) -> (columns: [ColumnFindings], file: DataFile) {
    let words = MissingWords(ValueRules(missing: missing))
    var columns: [ColumnFindings] = []
    var first: DataFile?
    for entry in files {
      let file = try DataFile(name: entry.name, path: entry.path, format: format)
      if first == nil { first = file }
      var places: [Int] = []
      try file.read(header: { (header) throws(TrainingError) in
        if columns.isEmpty { columns = header.map { ColumnFindings(name: $0) } }
        for column in columns {
          guard let place = header.firstIndex(of: column.name) else {
            throw .data(
              file: file.name, line: 1,
              "expected the columns of \(files[0].name), found none named \(column.name.quotedForMessage)")
          }
          places.append(place)
        }
      }) { (record) throws(TrainingError) in
        for (index, place) in places.enumerated() {
          columns[index].add(record.field(place), isQuoted: record.isQuoted(place), words)
        }
      }
    }
    guard let first else { throw TrainingError(.data, "data.files: expected at least one file, found none") }
    return (columns, first)
  }
}
