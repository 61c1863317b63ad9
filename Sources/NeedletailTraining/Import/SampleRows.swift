internal import Glibc
internal import NeedletailCSV
package import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine

/// Raw rows for which an imported model is checked, and its answers recorded.
package struct SampleRows {
  let rows: [[Cell]]
  /// SHA-256 of the file, lower-case hexadecimal.
  let sha256: String

  /// What the comparison with the library's answers found.
  struct Agreement {
    var rows: Int
    /// Differences are absolute, and relative to the library's number: absolute where that is 0.
    var columns: [(name: String, largestDifference: Double, largestRelativeDifference: Double, equal: Int)]
    /// The model's numbers in all columns, row after row, and the library's.
    var found: [Double] = []
    var expected: [Double] = []

    var words: String {
      columns.map { column in
        column.equal == rows
          ? "\(column.name): all \(Figures.count(rows)) equal"
          : "\(column.name): \(Figures.count(column.equal)) of \(Figures.count(rows)) equal, largest difference \(Figures.short(column.largestDifference))"
      }.joined(separator: "; ")
    }
  }

  /// Largest difference of a number, relative to numbers above 1, that counts as agreement: what a link function in fp32
  /// may differ from one in fp64.
  static let tolerance = 1e-5

  /// Reads rows from a CSV file whose header names the features, in any order; other columns are ignored.
  ///
  /// - Throws: `TrainingError` that names the line and the feature.
  init(path: String, _ definition: ModelDefinition) throws(TrainingError) {
    var hash = SHA256()
    let file = try DataFile(name: path, path: path, format: DataFormat(kind: .csv, delimiter: .comma, quote: .double))
    rows = try FeatureReader.rows(of: file, definition.schema) { hash.update(UnsafeRawBufferPointer($0)) }
    sha256 = Hex.text(hash.finalize())
  }

  // MARK: - comparison

  /// Compares the model's answers with the library's.
  ///
  /// The CSV file has a line for each row, and columns called `prediction` (a number, or a label), `raw` or `raw_0`,
  /// `raw_1`, … (sums before the link function), `p_LABEL` or `p_N` (probability of a class), or `NAME_0`,
  /// `NAME_1`, … (numbers of another output).
  /// - Parameter tolerance: largest difference of a number, relative to numbers above 1.
  /// - Throws: `TrainingError` that names the row and the column which differ.
  func compare(
    with path: String, _ model: CompiledModel, tolerance: Double = tolerance
  ) throws(TrainingError) -> Agreement {
    var expected: [[String]] = []
    var columns: [Column] = []
    let file = try DataFile(name: path, path: path, format: DataFormat(kind: .csv, delimiter: .comma, quote: .double))
    try file.read(header: { (names) throws(TrainingError) in
      for name in names { columns.append(try Self.column(name, model, file: path)) }
    }) { (record) throws(TrainingError) in
      guard expected.count < rows.count else {
        throw .data(file: path, line: record.line, "expected \(rows.count) rows, as the data has, found more")
      }
      expected.append((0..<columns.count).map { record.text($0) ?? "" })
    }
    guard expected.count == rows.count else {
      throw .importing("\(path): expected \(rows.count) rows, as the data has, found \(expected.count)")
    }
    let answers: [(name: String, answer: GoldenSample.Answer)]
    do throws(ServingError) {
      answers = try model.answers(for: rows)
    } catch {
      throw .importing("--data: expected rows that the model answers, found \(error.message)")
    }
    var agreement = Agreement(rows: rows.count, columns: [])
    let width = columns.count { outputIsNumber($0, model) }
    agreement.found = [Double](repeating: 0, count: width * rows.count)
    agreement.expected = agreement.found
    var place = 0
    for (index, column) in columns.enumerated() {
      defer { place += outputIsNumber(column, model) ? 1 : 0 }
      var equal = 0
      var largest = 0.0
      var largestRelative = 0.0
      for row in rows.indices {
        let text = expected[row][index]
        switch answers[column.output].answer {
        case .strings(let labels):
          guard labels[row] == text else {
            throw disagreement(
              path, row, column.name, expected: text.quotedForMessage, found: labels[row].quotedForMessage)
          }
          equal += 1
        case .numbers(let numbers):
          let found = numbers[row * column.width + column.place]
          guard let number = NumberText.parse(text) else {
            throw disagreement(path, row, column.name, expected: "a number there", found: text.quotedForMessage)
          }
          let difference = abs(found - number)
          guard difference <= tolerance * max(1, abs(number)) else {
            throw disagreement(path, row, column.name, expected: "\(number)", found: "\(found)")
          }
          if Float(number) == Float(found) { equal += 1 }
          agreement.found[row * width + place] = found
          agreement.expected[row * width + place] = number
          largest = max(largest, difference)
          largestRelative = max(largestRelative, number == 0 ? difference : difference / abs(number))
        }
      }
      agreement.columns.append((column.name, largest, largestRelative, equal))
    }
    return agreement
  }

  private func outputIsNumber(_ column: Column, _ model: CompiledModel) -> Bool {
    model.plan.outputs[column.output].kind != .classLabel
  }

  private func disagreement(
    _ path: String, _ row: Int, _ column: String, expected: String, found: String
  ) -> TrainingError {
    .importing(
      "\(path): row \(row + 1), column \(column.quotedForMessage): expected \(expected) of the library, found \(found) of the imported model"
    )
  }

  /// Place of a column's numbers among the answers.
  private struct Column {
    var name: String
    var output: Int
    var width: Int
    var place: Int
  }

  private static func column(
    _ name: String, _ model: CompiledModel, file: String
  ) throws(TrainingError) -> Column {
    let outputs = model.plan.outputs
    let labels = model.definition.labels
    func output(_ wanted: String, place: Int = 0) -> Column? {
      guard let index = outputs.firstIndex(where: { $0.name == wanted }), place < outputs[index].columns else {
        return nil
      }
      return Column(name: name, output: index, width: outputs[index].columns, place: place)
    }
    let found: Column? =
      if name == "prediction" {
        output(labels.isEmpty ? AnswerNames.number : "label")
      } else if name.hasPrefix("prediction_"), let place = Int(name.dropFirst("prediction_".count)), place >= 0 {
        output(AnswerNames.number, place: place)
      } else if name == "raw" {
        output(AnswerNames.raw) ?? output(AnswerNames.number)
      } else if name.hasPrefix("raw_"), let place = Int(name.dropFirst("raw_".count)), place >= 0 {
        output(AnswerNames.raw, place: place) ?? output(AnswerNames.number, place: place)
      } else if let end = name.lastIndex(of: "_"), let place = Int(name[name.index(after: end)...]), place >= 0,
        let found = output(String(name[..<end]), place: place)
      {
        found
      } else if name.hasPrefix("p_"), !labels.isEmpty, let place = Self.place(of: name.dropFirst(2), in: labels) {
        output(AnswerNames.probabilities, place: place)
      } else {
        nil
      }
    guard let found else {
      throw .data(
        file: file, line: 1, column: name,
        "expected prediction, raw, raw_N, p_LABEL, p_N or NAME_N with what the model answers, found another name")
    }
    return found
  }

  /// Place of a class by its label, else by its number: the library's labels may be others than the user's.
  private static func place(of text: Substring, in labels: [String]) -> Int? {
    if let place = labels.firstIndex(where: { $0 == text }) { return place }
    guard let number = Int(text), labels.indices.contains(number) else { return nil }
    return number
  }

  // MARK: - made rows

  /// Rows made for a model without data: each number is a threshold of its column or lies beside one, so that rows take
  /// many ways through the trees.
  package static func made(for model: ImportedModel) -> [[Cell]] {
    let columns = model.features.count
    var thresholds = [[Double]](repeating: [], count: columns)
    var split = 0
    for node in model.ensemble.nodes where node > 0 {
      let column = Int(node) - 1
      let threshold = model.ensemble.thresholds[split]
      let isNumeric = model.ensemble.sets.isEmpty || model.ensemble.sets[split] == 0
      if isNumeric, threshold.isFinite, thresholds[column].count < thresholdsMax {
        thresholds[column].append(threshold)
      }
      split += 1
    }
    var random = SplitMix64(seed: 1)
    return (0..<madeRows).map { row in
      (0..<columns).map { column in
        // Each column that may be missing is so in one row of them.
        let mayBeMissing = model.features[column].missing != .refuse
        if mayBeMissing, row > 0, row % columns == column, row <= columns { return .missing }
        if case .categorical(let categories, _) = model.features[column].kind {
          return categories.isEmpty ? .missing : .text(categories[Int(random.next() % UInt64(categories.count))])
        }
        guard !thresholds[column].isEmpty else { return .number(Double(random.next() % 4)) }
        let threshold = thresholds[column][Int(random.next() % UInt64(thresholds[column].count))]
        let step = max(abs(threshold), 1) * 0x1p-10
        let number = threshold + Double(Int(random.next() % 3) - 1) * step
        // Rows are bound within the range of fp32.
        let largest = Double(Float.greatestFiniteMagnitude)
        return .number(min(max(number, -largest), largest))
      }
    }
  }

  private static let madeRows = 16
  private static let thresholdsMax = 256
}
