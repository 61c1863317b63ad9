internal import NeedletailCore
internal import NeedletailEngine

/// Rows of one text or two, as they stand in the table: for families that read text by a tokenizer of their own.
public struct TextRows: TrainingInput, Equatable {
  /// The texts of each row.
  public let texts: [[String]]
  /// Texts of a row.
  public let columns: Int
  /// Number of each row in the data, for messages.
  let numbers: [Int]

  public static let preprocessing = PreprocessingRequest.texts

  public var rowCount: Int { texts.count }

  /// - Precondition: every row has as many texts.
  init(_ texts: [[String]], columns: Int, numbers: [Int]) {
    precondition(texts.allSatisfy { $0.count == columns } && numbers.count == texts.count)
    (self.texts, self.columns, self.numbers) = (texts, columns, numbers)
  }

  /// - Throws: `TrainingError` for a table with other columns, or with more texts than a tokenizer puts together.
  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    if let other = features.columns.first(where: { !$0.isText }) {
      throw .fit(
        "features: expected only columns of text for this family, found \(other.name.quotedForMessage); leave it out with "
          + "data.drop")
    }
    guard (1...2).contains(features.columns.count) else {
      throw .fit("features: expected one column of text, or two, found \(features.columns.count)")
    }
    self.init(
      rows.map { row in features.columns.map { $0.text(row) } }, columns: features.columns.count,
      numbers: rows.map { features.rowNumbers[$0] })
  }
}

/// The tokens of many texts, one after the other.
struct TokenizedTexts {
  private(set) var ids: [UInt32]
  /// Row of the position table that each token reads.
  private(set) var places: [UInt32]
  private(set) var types: [UInt8]
  /// Tokens of row r lie from `starts[r]` up to `starts[r + 1]`.
  private(set) var starts: [Int]

  var count: Int { starts.count - 1 }
  /// Tokens of the longest row.
  var longest: Int { (0..<count).reduce(0) { max($0, tokens(of: $1).count) } }

  func tokens(of row: Int) -> Range<Int> { starts[row]..<starts[row + 1] }

  /// Tokens that so many rows have at most, whichever they are.
  func tokensMax(rows: Int) -> Int {
    (0..<count).map { tokens(of: $0).count }.sorted(by: >).prefix(rows).reduce(0, +)
  }
}

extension TokenizedTexts {
  /// - Parameters:
  ///   - positionOffset: row of the position table that a text's first token reads.
  ///   - typesMax: rows of the table of token types, which RoBERTa's second texts do not look at.
  /// - Throws: `TrainingError` of kind `data` that names the row whose text the tokenizer refuses.
  init(_ rows: TextRows, _ tokenizer: Tokenizer, positionOffset: Int, typesMax: Int) throws(TrainingError) {
    self.init(ids: [], places: [], types: [], starts: [0])
    for (row, texts) in rows.texts.enumerated() {
      let found: Tokenizer.Encoding
      do throws(ServingError) {
        found = try tokenizer.encode(Array(texts[0].utf8), texts.count > 1 ? Array(texts[1].utf8) : nil)
      } catch {
        throw TrainingError(.data, "row \(rows.numbers[row]): \(error.message)")
      }
      ids += found.ids
      types += found.types.map { Int($0) < typesMax ? $0 : 0 }
      places += (0..<found.ids.count).map { UInt32($0 + positionOffset) }
      starts.append(ids.count)
    }
  }
}
