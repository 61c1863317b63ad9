internal import NeedletailCSV
internal import NeedletailCore

/// A column whose type is being found, with its cells as the type of its first value has them: where all others agree,
/// the files need not be read again for it.
struct ColumnDraft {
  /// Type that the cells are collected as.
  private enum State: Equatable {
    /// No value yet, and so many cells that are missing.
    case open(missing: Int)
    case numeric
    case categorical
    /// The cells are of several types, or too many to be kept for a guess.
    case abandoned
  }

  private var survey: ColumnSurvey
  private let words: MissingWords
  private let style: NumberStyle
  private let categoriesMax: Int
  private var state: State
  /// Cells so far; of no meaning before the first value and where the draft is abandoned.
  private var builder: ColumnBuilder
  /// The same as the state says, for the loop over all cells.
  private var isNumeric = false
  private var isCategorical = false
  /// Fields without quotes of a column of categories: each is surveyed once, and then counted.
  private var indexByField = ByteDictionary()
  private var fields: [Field] = []

  private struct Field {
    var bytes: [UInt8]
    var code: Int32
    /// Times that it was there and is not in the survey yet.
    var repeats = 0
  }

  /// Categories of a draft, and bytes of one: a column of more is read again when its type is known.
  static let categoriesMax = 4096
  static let categoryBytesMax = 256

  /// - Parameters:
  ///   - words: cells that mean a missing value, beside empty ones.
  ///   - style: marks that numbers may have.
  ///   - categoriesMax: more categories than this are refused.
  ///   - keepsCells: false for a column that is read again anyway.
  init(name: String, words: MissingWords, style: NumberStyle, categoriesMax: Int, keepsCells: Bool = true) {
    survey = ColumnSurvey(name: name, style: style)
    self.words = words
    self.style = style
    self.categoriesMax = min(categoriesMax, Self.categoriesMax)
    state = keepsCells ? .open(missing: 0) : .abandoned
    builder = Self.builder(.numeric, name, words, style, categoriesMax: 0)
  }

  private static func builder(
    _ type: TableRequest.ColumnType, _ name: String, _ words: MissingWords, _ style: NumberStyle, categoriesMax: Int
  ) -> ColumnBuilder {
    ColumnBuilder(
      name: name, reading: ColumnReading(type: type), words: words, style: style, categoriesMax: categoriesMax)
  }

  @inline(__always)
  mutating func add(_ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, file: String, line: Int) {
    if isNumeric, let number = builder.addNumber(field) {
      survey.add(number)
    } else if isCategorical, !isQuoted, let index = indexByField.code(of: UnsafeRawBufferPointer(field)) {
      fields[Int(index)].repeats += 1
      builder.add(code: fields[Int(index)].code)
    } else {
      addAny(field, isQuoted: isQuoted, file: file, line: line)
    }
  }

  @inline(never)
  private mutating func addAny(_ field: UnsafeBufferPointer<UInt8>, isQuoted: Bool, file: String, line: Int) {
    let (numbers, values) = (survey.numbers, survey.count)
    survey.add(field, isQuoted: isQuoted, words, file: file, line: line)
    if case .open(let missing) = state {
      if survey.hasQuotedWords {
        // It is text among texts and missing among numbers.
        abandon()
      } else if survey.count == values {
        state = .open(missing: missing + 1)
      } else {
        begin(as: survey.numbers > numbers ? .numeric : .categorical, missing: missing)
      }
    }
    guard state == .numeric || state == .categorical else { return }
    do throws(TrainingError) {
      guard state == .numeric || field.count <= Self.categoryBytesMax else { return abandon() }
      try builder.add(field, isQuoted: isQuoted, file: file, line: line)
      if isCategorical, !isQuoted, let code = builder.lastCode, fields.count < Self.categoriesMax {
        indexByField.insert(UnsafeRawBufferPointer(field), code: Int32(fields.count))
        fields.append(Field(bytes: Array(field), code: code))
      }
    } catch {
      // Whether it is an error at all depends on the type, which the whole column decides.
      abandon()
    }
  }

  private mutating func begin(as type: TableRequest.ColumnType, missing: Int) {
    isNumeric = type == .numeric
    isCategorical = !isNumeric
    state = isNumeric ? .numeric : .categorical
    builder = Self.builder(type, survey.name, words, style, categoriesMax: categoriesMax)
    builder.addMissing(missing)
  }

  private mutating func abandon() {
    countRepeats()
    (state, isNumeric, isCategorical) = (.abandoned, false, false)
    (indexByField, fields) = (ByteDictionary(), [])
    builder = Self.builder(.numeric, survey.name, words, style, categoriesMax: 0)
  }

  /// What all values look like.
  mutating func finishSurvey() -> ColumnSurvey {
    countRepeats()
    return survey
  }

  private mutating func countRepeats() {
    for index in fields.indices where fields[index].repeats > 0 {
      let (bytes, times) = (fields[index].bytes, fields[index].repeats)
      fields[index].repeats = 0
      // The survey knows line and file of the first one.
      bytes.withUnsafeBufferPointer { survey.add($0, isQuoted: false, words, file: "", line: 0, times: times) }
    }
  }

  /// Hands over the cells of the column, all of them, where they were collected as this type; otherwise nil.
  mutating func take(_ reading: ColumnReading) -> ColumnBuilder? {
    defer { abandon() }
    let type: TableRequest.ColumnType? = state == .numeric ? .numeric : state == .categorical ? .categorical : nil
    return type == reading.type ? builder : nil
  }
}

extension [ColumnDraft] {
  /// Adds a record, of which each draft takes the field at its place.
  mutating func add(_ record: CSVRecord, places: ArraySlice<Int>, file: String) {
    // Once for all cells it is checked that nobody else holds the drafts.
    withUnsafeMutableBufferPointer { drafts in
      for index in drafts.indices {
        let place = places[places.startIndex + index]
        drafts[index].add(record.field(place), isQuoted: record.isQuoted(place), file: file, line: record.line)
      }
    }
  }
}
