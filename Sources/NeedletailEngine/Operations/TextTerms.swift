internal import CNeedletailKernels
public import CNeedletailProto
internal import CNeedletailText
internal import NeedletailCore

/// Terms of a text, one column each: n-grams of words or of characters, found in a vocabulary or hashed, counted and
/// weighed as scikit-learn's `TfidfVectorizer` and `HashingVectorizer` do.
///
/// The columns that are not 0 are never written where a layer of fp32 weights follows: it looks their weights up.
public struct TextTerms: GraphOperation {
  /// What a term is made of. Raw values are those of `needletail.v1.TextUnit`.
  public enum Unit: UInt8, Sendable, CaseIterable {
    /// Runs of two letters, numbers and underscores or more.
    case words = 0
    /// Characters; several of white space in a row are one space.
    case characters = 1
    /// Characters of what stands between white space, with a space before and behind it.
    case wordCharacters = 2
  }

  /// Length to which a row is brought. Raw values are those of `needletail.v1.TermNorm`.
  public enum Norm: UInt8, Sendable, CaseIterable {
    case none = 0
    /// Magnitudes add up to 1.
    case l1 = 1
    /// Squares add up to 1.
    case l2 = 2
  }

  /// How a text becomes terms.
  public struct Analyser: Equatable, Sendable {
    public var unit: Unit
    /// Units of the shortest and of the longest term.
    public var shortest: Int
    public var longest: Int
    /// False: letters become lower case first.
    public var keepsCase: Bool

    public static let unitsMax = Int(NT_TERM_UNITS_MAX)

    public init(unit: Unit = .words, shortest: Int = 1, longest: Int = 1, keepsCase: Bool = false) {
      self.unit = unit
      self.shortest = shortest
      self.longest = longest
      self.keepsCase = keepsCase
    }
  }

  /// What gives a term its column.
  public enum Columns: Equatable, Sendable {
    /// Terms in UTF-8, ascending by their bytes; the first has column 0.
    case vocabulary(TermList)
    /// MurmurHash3 of the term, as scikit-learn's `FeatureHasher` takes it; `isSigned`: terms of a negative hash count −1.
    case hashed(buckets: Int, isSigned: Bool)
  }

  /// Which text of the row.
  public var text: Int
  public var analyser: Analyser
  public var columns: Columns
  /// A term counts once, however often it is there.
  public var isBinary: Bool
  /// A term counts 1 + log(number of times).
  public var isSublinear: Bool
  /// A factor for each column; empty: none.
  public var idf: [Float]
  public var norm: Norm

  public init(
    text: Int, analyser: Analyser, columns: Columns, isBinary: Bool = false, isSublinear: Bool = false,
    idf: [Float] = [], norm: Norm = .l2
  ) {
    self.text = text
    self.analyser = analyser
    self.columns = columns
    self.isBinary = isBinary
    self.isSublinear = isSublinear
    self.idf = idf
    self.norm = norm
  }

  /// Number of columns that it writes.
  public var columnCount: Int {
    switch columns {
    case .vocabulary(let terms): terms.count
    case .hashed(let buckets, _): buckets
    }
  }

  // MARK: message

  public init(_ message: Needletail__V1__TextTerms) throws(GraphFault) {
    let terms = TermList(
      bytes: MessageValues.array(message.terms.data, message.terms.len),
      sizes: MessageValues.array(message.term_bytes, message.n_term_bytes))
    guard let terms, terms.count == 0 || (message.buckets == 0 && message.alternate_sign == 0) else {
      throw GraphFault(
        "terms: expected their bytes as long as their sizes say, and no buckets beside them, found \(message.terms.len) bytes, \(message.n_term_bytes) sizes and \(message.buckets) buckets"
      )
    }
    self.init(
      text: Int(message.column),
      analyser: Analyser(
        unit: try MessageValues.known(message.unit.rawValue, as: Unit.self, "unit"), shortest: Int(message.shortest),
        longest: Int(message.longest), keepsCase: message.keeps_case != 0),
      columns: terms.count > 0
        ? .vocabulary(terms) : .hashed(buckets: Int(message.buckets), isSigned: message.alternate_sign != 0),
      isBinary: message.binary != 0, isSublinear: message.sublinear != 0,
      idf: MessageValues.array(message.idf, message.n_idf),
      norm: try MessageValues.known(message.norm.rawValue, as: Norm.self, "norm"))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__TextTerms>? {
    memory.build(needletail__v1__text_terms__init) {
      $0.column = UInt32(clamping: text)
      $0.unit = Needletail__V1__TextUnit(UInt32(analyser.unit.rawValue))
      $0.shortest = UInt32(clamping: analyser.shortest)
      $0.longest = UInt32(clamping: analyser.longest)
      $0.keeps_case = analyser.keepsCase ? 1 : 0
      switch columns {
      case .vocabulary(let terms):
        $0.terms = memory.data(terms.bytes)
        let sizes = terms.sizes
        $0.n_term_bytes = sizes.count
        $0.term_bytes = memory.array(sizes)
      case .hashed(let buckets, let isSigned):
        $0.buckets = UInt32(clamping: buckets)
        $0.alternate_sign = isSigned ? 1 : 0
      }
      $0.binary = isBinary ? 1 : 0
      $0.sublinear = isSublinear ? 1 : 0
      $0.n_idf = idf.count
      $0.idf = memory.array(idf)
      $0.norm = Needletail__V1__TermNorm(UInt32(norm.rawValue))
    }
  }

  // MARK: checks

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = try context.columns(of: .text)
    guard (0..<input.columns).contains(text) else {
      throw context.fault("reads text \(text), expected 0 to \(input.columns - 1)")
    }
    guard 1 <= analyser.shortest, analyser.shortest <= analyser.longest, analyser.longest <= Analyser.unitsMax else {
      throw context.fault(
        "expected terms of 1 to \(Analyser.unitsMax) units, found \(analyser.shortest) to \(analyser.longest)")
    }
    guard (1...Limits.columnsMax).contains(columnCount) else {
      throw context.fault("expected 1 to \(Limits.columnsMax) terms or buckets, found \(columnCount)", .tooMany)
    }
    switch columns {
    case .vocabulary(let terms):
      if let index = terms.faultIndex {
        throw context.fault("term \(index): expected UTF-8 that stands behind the term before it, found other")
      }
    case .hashed(_, let isSigned):
      guard !isSigned || !isSublinear else {
        throw context.fault("expected no logarithms of signed counts, found some")
      }
    }
    if !idf.isEmpty { try context.check(idf, name: "factors of terms", columns: columnCount) }
    return [ValueType(.float32, [columnCount])]
  }

  // MARK: cost and words

  public var parameterCount: Int {
    if case .vocabulary(let terms) = columns { terms.count + idf.count } else { idf.count }
  }

  public func packedBytes(_ context: OperationContext) -> Int {
    var bytes = idf.count * MemoryLayout<Float>.stride
    if case .vocabulary(let terms) = columns { bytes += terms.bytes.count + 4 * terms.count + 4 * terms.slotCount }
    return bytes
  }

  public var structure: TextTerms {
    var structure = self
    structure.columns = .hashed(buckets: columnCount, isSigned: false)
    structure.idf = []
    return structure
  }

  public var words: String {
    let unit =
      switch analyser.unit {
      case .words: "words"
      case .characters: "characters"
      case .wordCharacters: "characters of words"
      }
    let span =
      analyser.shortest == analyser.longest ? "\(analyser.longest)" : "\(analyser.shortest) to \(analyser.longest)"
    let kind = if case .hashed = columns { "hashed" } else { idf.isEmpty ? "counted" : "tf-idf" }
    return "terms of \(span) \(unit), \(kind)"
  }
}

/// Texts one after the other.
public struct TermList: Equatable, Sendable {
  /// UTF-8 of all terms.
  public private(set) var bytes: [UInt8]
  /// End of each term in ``bytes``.
  public private(set) var ends: [UInt32]

  public var count: Int { ends.count }

  /// Bytes of each term.
  var sizes: [UInt32] { ends.indices.map { ends[$0] - ($0 == 0 ? 0 : ends[$0 - 1]) } }

  public init(_ terms: some Sequence<String>) {
    bytes = []
    ends = []
    for term in terms {
      bytes += Array(term.utf8)
      ends.append(UInt32(bytes.count))
    }
  }

  /// - Returns: nil where the sizes do not add up to the bytes.
  init?(bytes: [UInt8], sizes: [UInt32]) {
    var end: UInt32 = 0
    var ends: [UInt32] = []
    ends.reserveCapacity(sizes.count)
    for size in sizes {
      let (next, overflow) = end.addingReportingOverflow(size)
      guard !overflow else { return nil }
      end = next
      ends.append(end)
    }
    guard Int(end) == bytes.count else { return nil }
    self.bytes = bytes
    self.ends = ends
  }

  /// The bytes of a term.
  public subscript(index: Int) -> ArraySlice<UInt8> {
    bytes[(index == 0 ? 0 : Int(ends[index - 1]))..<Int(ends[index])]
  }

  /// Places of a table that finds a term: at most half of them are taken.
  var slotCount: Int {
    var slots = 2
    while slots < 2 * count { slots *= 2 }
    return slots
  }

  /// The first term that is empty or no UTF-8, or does not stand behind the one before it by its bytes.
  var faultIndex: Int? {
    bytes.withUnsafeBufferPointer { bytes in
      var start = 0
      var before: UnsafeBufferPointer<UInt8>?
      for (index, end) in ends.enumerated() {
        let term = UnsafeBufferPointer(rebasing: bytes[start..<Int(end)])
        guard !term.isEmpty, nt_text_invalid(term.baseAddress, term.count) == term.count else { return index }
        if let before, !before.lexicographicallyPrecedes(term) { return index }
        (before, start) = (term, Int(end))
      }
      return nil
    }
  }
}
