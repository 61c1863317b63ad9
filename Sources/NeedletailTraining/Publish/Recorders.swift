internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// Records a compiled model's answers for chosen rows. A server must answer them alike before the version goes live.
///
/// The rows are typical ones, extremes, rows with gaps or unseen categories, and rows that must be refused.
struct GoldenRecorder {
  let model: CompiledModel
  private let layout: AnswerLayout
  /// Largest difference that an engine of other numerics may show, relative to numbers above 1.
  let tolerance: Double

  static let typicalRowsMax = 8
  static let unseenCategoriesMax = 8

  init(model: CompiledModel) {
    self.model = model
    layout = AnswerLayout(model)
    // An engine of other numerics may sum in another order. In int8 a last bit can then move an activation by one step
    // of 1/127.
    tolerance = model.plan.precision == "fp32" ? 1e-5 : 2e-2
  }

  private var features: [Feature] { model.definition.schema.features }

  /// - Parameters:
  ///   - typical: raw rows with their numbers, for instance of the test split.
  ///   - training: raw rows that the extremes are taken from.
  /// - Throws: `TrainingError` where the model refuses a row that it should answer, or answers one that it should
  ///   refuse.
  func record(
    typical: [(number: Int, cells: [Cell])], training: [[Cell]]
  ) throws(TrainingError) -> [GoldenSample] {
    var samples: [GoldenSample] = []
    // A golden sample's text has no NUL.
    let typical = typical.filter { row in
      row.cells.allSatisfy { if case .text(let text) = $0 { !text.utf8.contains(0) } else { true } }
    }
    let step = max(1, typical.count / Self.typicalRowsMax)
    for index in stride(from: 0, to: typical.count, by: step).prefix(Self.typicalRowsMax) {
      samples.append(try answered("row \(typical[index].number)", typical[index].cells))
    }
    guard let base = typical.first?.cells ?? training.first else { return samples }
    samples.append(try answered("all at their minimum", extremes(training, largest: false)))
    samples.append(try answered("all at their maximum", extremes(training, largest: true)))
    samples.append(contentsOf: try gaps(base))
    samples.append(contentsOf: try unseenCategories(base))
    if let index = features.firstIndex(where: { $0.kind == .numeric }) {
      var cells = base
      cells[index] = .number(.infinity)
      samples.append(try refused("infinity in \(features[index].name)", cells))
    }
    return samples
  }

  private func extremes(_ training: [[Cell]], largest: Bool) -> [Cell] {
    features.indices.map { index in
      switch features[index].kind {
      case .numeric:
        let numbers = training.compactMap { row -> Double? in
          if case .number(let number) = row[index] { number } else { nil }
        }
        return .number((largest ? numbers.max() : numbers.min()) ?? 0)
      case .datetime, .text:
        // As text, which stands in the order of time.
        let texts = training.compactMap { row -> String? in
          if case .text(let text) = row[index] { text } else { nil }
        }
        return (largest ? texts.max() : texts.min()).map { .text($0) } ?? .missing
      case .categorical(let categories, _):
        if categories.isEmpty { return .text(largest ? "z" : "a") }
        return (largest ? categories.last : categories.first).map { .text($0) } ?? .missing
      }
    }
  }

  private func gaps(_ base: [Cell]) throws(TrainingError) -> [GoldenSample] {
    let missing = [Cell](repeating: .missing, count: features.count)
    guard let index = features.firstIndex(where: { $0.missing == .refuse }) else {
      return [try answered("all missing", missing)]
    }
    var one = base
    one[index] = .missing
    return [try refused("all missing", missing), try refused("missing \(features[index].name)", one)]
  }

  private func unseenCategories(_ base: [Cell]) throws(TrainingError) -> [GoldenSample] {
    var samples: [GoldenSample] = []
    for (index, feature) in features.enumerated() {
      guard case .categorical(let categories, let unknown) = feature.kind else { continue }
      guard samples.count < Self.unseenCategoriesMax else { break }
      var unseen = "unseen"
      while categories.contains(unseen) { unseen += "_" }
      var cells = base
      cells[index] = .text(unseen)
      let name = "unseen category in \(feature.name)"
      samples.append(unknown == .refuse ? try refused(name, cells) : try answered(name, cells))
    }
    return samples
  }

  private func answered(_ name: String, _ cells: [Cell]) throws(TrainingError) -> GoldenSample {
    var answers: [(name: String, answer: GoldenSample.Answer)]
    do throws(ServingError) {
      answers = try model.answers(for: [cells])
    } catch {
      throw .fit("golden sample \(name.quotedForMessage): expected an answer, found \(error)")
    }
    // Where two classes are nearly tied, the tolerance may decide which one wins: only the numbers are promised.
    let numbers = model.plan.outputs[layout.numbers].name
    if layout.classIndex != nil,
      case .numbers(let perClass)? = answers.first(where: { $0.name == numbers })?.answer
    {
      let sorted = perClass.sorted(by: >)
      if sorted[0] - sorted[1] <= 4 * tolerance * max(1, abs(sorted[0])) {
        answers = answers.filter { $0.name == numbers }
      }
    }
    return GoldenSample(
      name: name, cells: cells, expectation: .answers(answers), tolerance: tolerance,
      numerics: Numerics.revision)
  }

  private func refused(_ name: String, _ cells: [Cell]) throws(TrainingError) -> GoldenSample {
    do throws(ServingError) {
      _ = try model.answers(for: [cells])
    } catch {
      guard error.code == .invalidArgument else { throw TrainingError(error) }
      return GoldenSample(
        name: name, cells: cells, expectation: .refusal(.invalidArgument), tolerance: tolerance,
        numerics: Numerics.revision)
    }
    throw .fit("golden sample \(name.quotedForMessage): expected a refusal, found an answer")
  }
}

/// Summarises how training inputs and answers were distributed, for later comparison.
enum DriftRecorder {
  /// Bins that numbers are cut into, of about equal counts.
  static let binCount = 10
  /// Most frequent categories that are kept.
  static let categoriesMax = 1000

  /// - Parameters:
  ///   - features: the table of all rows.
  ///   - rows: the training split.
  ///   - prediction: the model's own answers for these rows.
  static func record(features: Table, rows: [Int], prediction: Table.Column) -> DriftBaseline {
    DriftBaseline(
      features: features.columns.map { column($0, rows: rows) },
      prediction: column(prediction, rows: Array(0..<prediction.count)))
  }

  /// Distribution of one column over some rows.
  static func column(_ column: Table.Column, rows: [Int]) -> DriftBaseline.Column {
    if column.isText {
      // What is bound of a text is its length in bytes.
      let lengths = rows.map { Double(column.text($0).utf8.count) }
      return self.column(.init(name: column.name, values: .numbers(lengths)), rows: Array(rows.indices))
    }
    let missing = rows.count { column.isMissing($0) }
    var baseline = DriftBaseline.Column(
      name: column.name, rows: rows.count, missingRate: rows.isEmpty ? 0 : Double(missing) / Double(rows.count))
    switch column.values {
    case .numbers(let numbers):
      let sorted = rows.map { numbers[$0] }.filter { !$0.isNaN }.sorted()
      guard !sorted.isEmpty else { break }
      for tenth in 0...binCount {
        let edge = Quantiles.of(sorted, Double(tenth) / Double(binCount))
        if baseline.quantileEdges.last.map({ edge > $0 }) ?? true { baseline.quantileEdges.append(edge) }
      }
      baseline.binCounts = counts(sorted, edges: baseline.quantileEdges)
    case .categories(let codes, let categories):
      var counts = [Int](repeating: 0, count: categories.count)
      for row in rows where codes[row] >= 0 { counts[Int(codes[row])] += 1 }
      let order = categories.indices.filter { counts[$0] > 0 }.sorted { (counts[$0], $1) > (counts[$1], $0) }
      baseline.categories = order.prefix(categoriesMax).map { (category: categories[$0], count: counts[$0]) }
    }
    return baseline
  }

  /// Counts per bin. A bin includes its lower edge; the last one includes both.
  private static func counts(_ sorted: [Double], edges: [Double]) -> [Int] {
    guard edges.count > 1 else { return [] }
    var counts = [Int](repeating: 0, count: edges.count - 1)
    var bin = 0
    for value in sorted {
      while bin < counts.count - 1, value >= edges[bin + 1] { bin += 1 }
      counts[bin] += 1
    }
    return counts
  }
}
