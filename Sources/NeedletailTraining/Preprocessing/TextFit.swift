internal import CNeedletailTraining
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// The section `text` of a run file: what becomes of columns that are text.
struct TextSettings {
  /// How terms get their columns and what they weigh.
  enum Weights: String, CaseIterable {
    /// A column for each term of a vocabulary; the more texts have a term, the less it weighs.
    case tfidf
    /// A column for each term of a vocabulary.
    case counts
    /// Terms share columns by their hash: no vocabulary, and no bound on the number of terms.
    case hash
  }

  let analyser: TextTerms.Analyser
  let weights: Weights
  let termsMax: Int
  let buckets: Int
  /// Fewest and most texts that have a term: numbers of texts from 1 on, shares of all below; 1 as the most is all.
  let textsMin: Double
  let textsMax: Double
  let isSublinear: Bool
  /// Text of the section's keys in messages.
  static let section = "text"

  init(_ document: Document) {
    let unit: TextTerms.Unit =
      switch document["terms"].text {
      case "characters": .characters
      case "word_characters": .wordCharacters
      default: .words
      }
    analyser = TextTerms.Analyser(
      unit: unit, shortest: document["shortest"].integer ?? 1, longest: document["longest"].integer ?? 2,
      keepsCase: document["case"].text == "keep")
    weights = Weights(rawValue: document["weights"].text ?? "") ?? .tfidf
    termsMax = document["max_features"].integer ?? Self.termsDefault
    buckets = document["buckets"].integer ?? Self.bucketsDefault
    textsMin = document["min_df"].number ?? 2
    textsMax = document["max_df"].number ?? 1
    isSublinear = document["sublinear"].flag ?? true
  }

  /// Terms of a vocabulary: beyond, more of them hardly changed what linear models of short texts answered.
  static let termsDefault = 50_000
  static let bucketsDefault = 1 << 18

  static let settings: [Setting] = [
    Setting(
      "terms", .choice(["words", "characters", "word_characters"]), .text("words"),
      "What is counted: words of two letters and more, characters, or characters within words, as analyzer word, char and "
        + "char_wb of scikit-learn."),
    Setting(
      "shortest", .integer(1...TextTerms.Analyser.unitsMax), .integer(1), "Words, or characters, of the shortest term."),
    Setting("longest", .integer(1...TextTerms.Analyser.unitsMax), .integer(2), "And of the longest one."),
    Setting("case", .choice(["lower", "keep"]), .text("lower"), "With lower, letters become lower case first."),
    Setting(
      "weights", .choice(Weights.allCases.map(\.rawValue)), .text(Weights.tfidf.rawValue),
      "With tfidf a vocabulary, in which frequent terms weigh less; with counts one without weights; with hash terms share "
        + "columns by their hash. Each text has length 1."),
    Setting(
      "max_features", .integer(1...Limits.columnsMax), .integer(termsDefault),
      "Terms of a vocabulary at most: those that occur most often."),
    Setting(
      "min_df", .number(0...1e9), .number(2), "Training texts that have a term at least; below 1 their share."),
    Setting(
      "max_df", .number(0...1e9), .number(1), "Training texts that have a term at most; up to 1 their share."),
    Setting(
      "sublinear", .flag, .flag(true), "A term that occurs n times counts 1 + log(n); not with weights: hash."),
    Setting(
      "buckets", .integer(2...Limits.columnsMax), .integer(bucketsDefault), "Columns of hashed terms."),
  ]

  /// Settings that tuning varies.
  static var searchSettings: [SearchSetting] {
    func terms(_ unit: String, _ shortest: Int, _ longest: Int) -> Document {
      .section([
        .init("terms", .text(unit)), .init("shortest", .integer(shortest)), .init("longest", .integer(longest)),
      ])
    }
    func hashed(_ buckets: Int) -> Document {
      .section([.init("weights", .text(Weights.hash.rawValue)), .init("buckets", .integer(buckets))])
    }
    return [
      .choice(
        "\(section).terms",
        [
          terms("words", 1, 2), terms("words", 1, 1), terms("words", 1, 3), terms("word_characters", 3, 5),
          terms("characters", 2, 5),
        ]),
      .choice(
        "\(section).weights",
        [
          .section([.init("weights", .text(Weights.tfidf.rawValue))]),
          .section([.init("weights", .text(Weights.counts.rawValue))]), hashed(1 << 16), hashed(bucketsDefault),
        ]),
      .logarithmic("\(section).min_df", 1...10, first: 2),
      .choice("\(section).sublinear", [.flag(true), .flag(false)]),
    ]
  }

  /// - Throws: `TrainingError` where two settings contradict each other.
  func check(_ configuration: RunConfiguration) throws(TrainingError) {
    guard analyser.shortest <= analyser.longest else {
      let path = "\(Self.section).longest"
      throw .configuration(
        configuration.location(of: path),
        "\(path): expected at least text.shortest, which is \(analyser.shortest), found \(analyser.longest)")
    }
  }
}

/// What the training rows of a column of text have taught: the operation that finds and weighs its terms.
struct TextFit: Sendable {
  /// Index of the feature in the schema.
  let feature: Int
  let operation: TextTerms
  /// Sentence for people about the vocabulary.
  let note: String

  var columns: Int { operation.columnCount }

  /// - Parameters:
  ///   - index: place of the column among the columns of text.
  ///   - rows: the training split.
  /// - Throws: `TrainingError` where no term is left, or there are too many to count.
  init(
    _ column: Table.Column, feature: Int, index: Int, rows: [Int], _ configuration: RunConfiguration
  ) throws(TrainingError) {
    self.feature = feature
    let settings = TextSettings(configuration.document[TextSettings.section])
    try settings.check(configuration)
    let name = column.name.quotedForMessage
    guard settings.weights != .hash else {
      operation = TextTerms(
        text: index, analyser: settings.analyser,
        columns: .hashed(buckets: settings.buckets, isSigned: true), norm: .l2)
      note = "column \(name): terms hashed to \(Figures.count(settings.buckets)) columns"
      return
    }
    let counter = try TermCounter(settings.analyser)
    for row in rows { try counter.add(column.text(row), column.name, configuration) }
    let (terms, texts) = counter.vocabulary(settings, texts: rows.count)
    guard terms.count > 0 else {
      let path = "text.min_df"
      throw .configuration(
        configuration.location(of: path),
        "column \(name): expected terms that \(Figures.short(settings.textsMin)) or more training texts have, found none "
          + "among \(Figures.count(counter.count)); lower text.min_df")
    }
    let all = Double(rows.count)
    let idf = settings.weights == .tfidf ? texts.map { Float(log((1 + all) / (1 + Double($0))) + 1) } : []
    operation = TextTerms(
      text: index, analyser: settings.analyser, columns: .vocabulary(terms), isSublinear: settings.isSublinear,
      idf: idf, norm: .l2)
    note = "column \(name): \(Figures.count(terms.count)) of \(Figures.count(counter.count)) terms"
  }
}

/// Terms of the training texts with their counts.
private final class TermCounter {
  private let counter: OpaquePointer

  init(_ analyser: TextTerms.Analyser) throws(TrainingError) {
    var own = nt_term_analyser(
      unit: nt_term_unit(UInt32(analyser.unit.rawValue)), shortest: UInt32(analyser.shortest),
      longest: UInt32(analyser.longest), keeps_case: analyser.keepsCase)
    guard let counter = nt_term_counter_make(&own) else { throw .fit("terms of texts: expected memory, found none") }
    self.counter = counter
  }

  deinit { nt_term_counter_free(counter) }

  var count: Int { nt_term_counter_count(counter) }

  func add(_ text: String, _ column: String, _ configuration: RunConfiguration) throws(TrainingError) {
    var text = text
    let status = text.withUTF8 { nt_term_counter_add(counter, $0.baseAddress, $0.count) }
    switch status {
    case NT_TERM_COUNTER_OK: return
    case NT_TERM_COUNTER_FULL:
      throw .configuration(
        configuration.location(of: "text.longest"),
        "column \(column.quotedForMessage): expected at most \(Figures.count(Int(NT_TERM_COUNTER_MAX))) different terms, "
          + "found more; lower text.longest, or set text.weights: hash")
    default: throw .fit("terms of texts: expected memory, found none")
    }
  }

  /// The terms that are kept, in the order of their bytes, and the number of texts that have each.
  func vocabulary(_ settings: TextSettings, texts: Int) -> (terms: TermList, texts: [Int]) {
    let least = settings.textsMin < 1 ? settings.textsMin * Double(texts) : settings.textsMin
    let most = settings.textsMax <= 1 ? settings.textsMax * Double(texts) : settings.textsMax
    var kept = (0..<count).filter { index in
      let own = Double(nt_term_counter_term(counter, index).texts)
      return own >= least && own <= most
    }
    func bytes(_ index: Int) -> UnsafeBufferPointer<UInt8> {
      let term = nt_term_counter_term(counter, index)
      return UnsafeBufferPointer(start: term.bytes, count: Int(term.size))
    }
    if kept.count > settings.termsMax {
      // Among terms that occur as often, the first by their bytes.
      kept.sort { a, b in
        let (x, y) = (nt_term_counter_term(counter, a).occurrences, nt_term_counter_term(counter, b).occurrences)
        return x != y ? x > y : bytes(a).lexicographicallyPrecedes(bytes(b))
      }
      kept.removeLast(kept.count - settings.termsMax)
    }
    kept.sort { bytes($0).lexicographicallyPrecedes(bytes($1)) }
    let terms = TermList(kept.map { String(decoding: bytes($0), as: UTF8.self) })
    return (terms, kept.map { Int(nt_term_counter_term(counter, $0).texts) })
  }
}
