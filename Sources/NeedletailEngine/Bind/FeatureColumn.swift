internal import CNeedletailKernels
internal import CNeedletailText
internal import NeedletailCore

/// Why one raw value cannot be bound.
enum CellFault: Error {
  case missing
  case infinite
  /// Finite, but beyond fp32.
  case tooLarge
  case notANumber
  case notADate
  case notAText
  /// A text of so many bytes.
  case textTooLong(Int)
  case notABool
  case invalidUTF8
  case unknownCategory
}

/// One feature as the binder reads it: what a raw value becomes. Borrowed from the binder that
/// built it.
struct FeatureColumn: BitwiseCopyable {
  let isCategorical: Bool
  /// Place among the features that are text; −1 for features of other kinds.
  let textIndex: Int
  /// Bytes of one text.
  private let textBytesMax: Int
  /// Order of day and month in dates; nil for features of other kinds.
  private let dateOrder: DateOrder?
  /// Marks that numbers as text may have.
  private let numberStyle: NumberStyle
  let acceptsMissing: Bool
  /// Number that an unseen category becomes; NaN refuses it.
  private let unknownCode: Float
  /// Number of codes behind the categories, for texts that are none; 0 without hashing.
  private let buckets: UInt32
  /// Number of categories; 0 for numeric features.
  private let categoryCount: Int
  /// The categories and, where the model has value rules, their keys behind them: the key of category i is entry
  /// i + ``categoryCount``, or another spelling of it is the category itself. Empty for numeric features.
  let categories: ByteTable

  /// - Parameter text: place among the features that are text, and the bytes of one; nil for features of other kinds.
  init(_ feature: Feature, rules: ValueRules?, text: (index: Int, bytesMax: Int)?) {
    (textIndex, textBytesMax) = (text?.index ?? -1, text?.bytesMax ?? 0)
    acceptsMissing = feature.missing == .impute
    buckets = UInt32(feature.buckets)
    numberStyle = rules?.numbers ?? .plain
    switch feature.kind {
    case .numeric, .text:
      dateOrder = nil
      (isCategorical, unknownCode, categoryCount, categories) = (false, .nan, 0, ByteTable([[UInt8]]()))
    case .datetime(let order):
      dateOrder = order
      (isCategorical, unknownCode, categoryCount, categories) = (false, .nan, 0, ByteTable([[UInt8]]()))
    case .categorical(let categories, let unknown):
      dateOrder = nil
      let spellings = categories.map { Array($0.utf8) }
      let keys = rules == nil ? [] : categories.map(ValueText.categoryKey)
      (isCategorical, categoryCount, self.categories) = (true, categories.count, ByteTable(spellings + keys))
      unknownCode =
        switch unknown {
        // With buckets every text has a code, and only numbers are refused.
        case .refuse, .hash: .nan
        case .zeros: -1
        case .other: Float(categories.count)
        }
    }
  }

  /// True where every finite number is taken as it is.
  var isNumeric: Bool { !isCategorical && dateOrder == nil && !isText }
  var isText: Bool { textIndex >= 0 }

  /// A number: itself, or for a categorical feature the code of a category. NaN is missing. No other number is a text.
  ///
  /// `Number` is the element type of the bound row. A row of f64 keeps more digits, not a wider range: the layers
  /// behind it compute in fp32, where a larger number would be an infinity.
  @inline(__always)
  func bind<Number: BinaryFloatingPoint>(number: Double) -> Result<Number, CellFault> {
    if isText { return number.isNaN ? missing() : .failure(.notAText) }
    guard Float(number).isFinite else {
      if number.isNaN { return missing() }
      return .failure(number.isInfinite ? .infinite : .tooLarge)
    }
    let value = Number(number)
    guard isCategorical else {
      if dateOrder != nil, !DateText.range.contains(number) { return .failure(.notADate) }
      return .success(value)
    }
    guard number >= 0, number < Double(categoryCount + Int(buckets)), number == number.rounded(.towardZero) else {
      return unknown()
    }
    return .success(value)
  }

  /// Text: itself for a feature that is text, whose column holds the number of bytes; else a category, a date or a number,
  /// and missing where it is empty.
  ///
  /// - Parameter missingWords: of the model's value rules; nil for a model without rules, which compares bytes.
  func bind<Number: BinaryFloatingPoint>(
    text: UnsafeRawBufferPointer, missingWords: ByteTable?
  ) -> Result<Number, CellFault> {
    if isText { return length(of: text) }
    if text.isEmpty { return missing() }
    guard isCategorical else {
      if let dateOrder { return bind(dateText: text, dateOrder, missingWords: missingWords) }
      return bind(numberText: text, missingWords: missingWords)
    }
    if let code = code(of: text) { return .success(Number(code)) }
    guard let missingWords else {
      // Categories are valid UTF-8, so only what matches none needs the check.
      return String(validating: text, as: UTF8.self) == nil ? .failure(.invalidUTF8) : unknown(text)
    }
    let result: Result<Number, CellFault>? = ValueText.withCategoryKey(of: text) { key in
      if let code = code(of: key) { return .success(Number(code)) }
      let isMissing = ValueText.withNormalised(of: text) { $0.isEmpty || missingWords.index(of: $0) != nil }
      return isMissing == true ? missing() : unknown(key)
    }
    return result ?? .failure(.invalidUTF8)
  }

  private func length<Number: BinaryFloatingPoint>(of text: UnsafeRawBufferPointer) -> Result<Number, CellFault> {
    guard text.count <= textBytesMax else { return .failure(.textTooLong(text.count)) }
    let invalid = text.withMemoryRebound(to: UInt8.self) { nt_text_invalid($0.baseAddress, $0.count) }
    return invalid == text.count ? .success(Number(text.count)) : .failure(.invalidUTF8)
  }

  private func bind<Number: BinaryFloatingPoint>(
    numberText text: UnsafeRawBufferPointer, missingWords: ByteTable?
  ) -> Result<Number, CellFault> {
    guard let missingWords else {
      guard let number = NumberText.parse(text) else { return .failure(.notANumber) }
      return number.isInfinite ? .failure(.tooLarge) : bind(number: number)
    }
    switch ValueText.number(text, style: numberStyle, isMissingWord: { missingWords.index(of: $0) != nil }) {
    case .number(let number): return bind(number: number)
    case .missing: return missing()
    case .tooLarge: return .failure(.tooLarge)
    case .notANumber: return .failure(.notANumber)
    }
  }

  private func bind<Number: BinaryFloatingPoint>(
    dateText text: UnsafeRawBufferPointer, _ order: DateOrder, missingWords: ByteTable?
  ) -> Result<Number, CellFault> {
    switch ValueText.moment(text, order: order, isMissingWord: { missingWords?.index(of: $0) != nil }) {
    case .seconds(let seconds): return .success(Number(seconds))
    case .missing: return missing()
    case .notADate: return .failure(.notADate)
    }
  }

  private func code(of text: UnsafeRawBufferPointer) -> Int? {
    categories.index(of: text).map { $0 < categoryCount ? $0 : $0 - categoryCount }
  }

  func missing<Number: BinaryFloatingPoint>() -> Result<Number, CellFault> {
    acceptsMissing ? .success(.nan) : .failure(.missing)
  }

  /// A text that is no category.
  ///
  /// - Parameter key: bytes by which its category would be found.
  private func unknown<Number: BinaryFloatingPoint>(_ key: UnsafeRawBufferPointer) -> Result<Number, CellFault> {
    guard buckets > 0 else { return unknown() }
    return .success(Number(categoryCount + TextBuckets.bucket(of: key, among: Int(buckets))))
  }

  private func unknown<Number: BinaryFloatingPoint>() -> Result<Number, CellFault> {
    unknownCode.isNaN ? .failure(.unknownCategory) : .success(Number(unknownCode))
  }
}

/// Buckets of texts, as `proto/README.md`, [V20], has them: the same as those of scikit-learn's `FeatureHasher`.
public enum TextBuckets {
  /// Bucket of the bytes by which a category is found.
  ///
  /// - Precondition: there is a bucket.
  static func bucket(of key: UnsafeRawBufferPointer, among buckets: Int) -> Int {
    Int(nt_bucket(nt_murmur3(key.baseAddress, key.count), UInt32(buckets)))
  }

  /// Bucket of a text in a model with value rules.
  ///
  /// - Precondition: there is a bucket.
  public static func bucket(of text: String, among buckets: Int) -> Int {
    ValueText.categoryKey(text).withUnsafeBytes { bucket(of: $0, among: buckets) }
  }
}

/// Finds the index of a UTF-8 key: open addressing with linear probing, at most half full.
///
/// It holds plain pointers, so that a look-up neither allocates nor counts references. Its owner calls
/// ``deallocate()`` when no reader is left.
struct ByteTable: BitwiseCopyable {
  /// Key index + 1; 0 is free.
  private let slots: UnsafeMutablePointer<UInt32>
  private let mask: Int
  /// Key i lies in `bytes` from `ends[i]` up to `ends[i + 1]`.
  private let ends: UnsafeMutablePointer<Int>
  private let bytes: UnsafeMutablePointer<UInt8>
  let count: Int

  /// Duplicate keys keep the index of the first; a free slot always ends a probe.
  init(_ keys: [[UInt8]]) {
    count = keys.count
    var capacity = 2
    while capacity < 2 * keys.count { capacity *= 2 }
    mask = capacity - 1
    slots = .allocate(capacity: capacity)
    slots.initialize(repeating: 0, count: capacity)
    ends = .allocate(capacity: keys.count + 1)
    bytes = .allocate(capacity: max(1, keys.reduce(0) { $0 + $1.count }))
    var end = 0
    ends[0] = 0
    for (index, key) in keys.enumerated() {
      for byte in key {
        bytes[end] = byte
        end += 1
      }
      ends[index + 1] = end
    }
    for index in keys.indices where self.index(of: self.key(index)) == nil {
      var slot = Self.hash(self.key(index)) & mask
      while slots[slot] != 0 { slot = (slot + 1) & mask }
      slots[slot] = UInt32(index + 1)
    }
  }

  init(_ keys: [String]) { self.init(keys.map { Array($0.utf8) }) }

  func deallocate() {
    slots.deallocate()
    ends.deallocate()
    bytes.deallocate()
  }

  /// The index of the first key with exactly these bytes. O(length) on average.
  func index(of key: UnsafeRawBufferPointer) -> Int? {
    var slot = Self.hash(key) & mask
    while slots[slot] != 0 {
      let index = Int(slots[slot]) - 1
      if Self.equal(self.key(index), key) { return index }
      slot = (slot + 1) & mask
    }
    return nil
  }

  /// True if key `index` has exactly these bytes.
  func matches(_ key: UnsafeRawBufferPointer, at index: Int) -> Bool {
    index < count && Self.equal(self.key(index), key)
  }

  private func key(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: bytes + ends[index], count: ends[index + 1] - ends[index])
  }

  private static func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    for i in 0..<a.count where a[i] != b[i] { return false }
    return true
  }

  /// FNV-1a, 64 bits, folded. Keys come from the model, so nobody outside can make them collide.
  private static func hash(_ key: UnsafeRawBufferPointer) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in key { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return Int(truncatingIfNeeded: (hash ^ (hash >> 32)) & 0x7fff_ffff)
  }
}
