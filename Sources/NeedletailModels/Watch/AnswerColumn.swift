internal import NeedletailCore
internal import NeedletailEngine

/// What the answers of a model are watched by: the class that it names, or the number that it gives, and how sure it is.
struct AnswerColumn: Sendable {
  /// What one row of answers says.
  struct Answer: Equatable {
    /// Class index, or the number of a regression.
    var value: Double
    /// Largest probability; nil where the model gives none.
    var confidence: Double?
  }

  private enum Value: Sendable {
    /// Output that holds the index of a class.
    case index(Int)
    /// Output whose largest column is the class.
    case largest(Int, columns: Int)
    /// Output that is the number.
    case number(Int)
  }

  let column: DriftColumn
  /// Names of the classes; empty for a regression.
  let classes: [String]
  private let value: Value
  /// Output of a probability for each class.
  private let probabilities: (output: Int, columns: Int)?

  /// The column of a model's answers; nil where its baseline does not fit its outputs.
  init?(_ model: CompiledModel, _ baseline: DriftBaseline.Column) {
    let outputs = model.plan.outputs
    let classIndex = outputs.firstIndex { $0.kind != .number }
    let scores = outputs.firstIndex { $0.kind == .number && $0.columns > 1 }
    probabilities = scores.map { ($0, outputs[$0].columns) }
    if baseline.categories.isEmpty {
      guard let number = outputs.firstIndex(where: { $0.kind == .number && $0.columns == 1 }),
        let column = DriftColumn(numbers: baseline)
      else { return nil }
      (value, classes, self.column) = (.number(number), [], column)
      return
    }
    let labels = model.definition.labels
    guard let column = DriftColumn(categories: labels, baseline) else { return nil }
    if let classIndex {
      value = .index(classIndex)
    } else if let scores {
      value = .largest(scores, columns: outputs[scores].columns)
    } else {
      return nil
    }
    (classes, self.column) = (labels, column)
  }

  /// Whether all outputs that tell the answer are in a set of outputs, one bit each.
  func isIn(_ selection: UInt64) -> Bool {
    let output =
      switch value {
      case .index(let output), .number(let output), .largest(let output, _): output
      }
    let other = probabilities?.output ?? output
    return selection >> UInt64(output) & selection >> UInt64(other) & 1 == 1
  }

  /// The answer of one row.
  /// - Parameter outputs: for every output of the plan its `rows × columns` floats.
  func answer(_ outputs: [UnsafeMutablePointer<Float>], row: Int) -> Answer {
    var confidence: Double?
    if let probabilities, !classes.isEmpty {
      let scores = outputs[probabilities.output] + row * probabilities.columns
      var largest = scores[0]
      for index in 1..<probabilities.columns { largest = max(largest, scores[index]) }
      confidence = Double(largest)
    }
    switch value {
    case .index(let output), .number(let output):
      return Answer(value: Double(outputs[output][row]), confidence: confidence)
    case .largest(let output, let columns):
      let scores = outputs[output] + row * columns
      var best = 0
      for index in 1..<columns where scores[index] > scores[best] { best = index }
      return Answer(value: scores[best].isNaN ? .nan : Double(best), confidence: confidence)
    }
  }

  /// Classes that training answered, each with its cell. Those that it never answered share the last cell with all
  /// others like them.
  var namedClasses: [(name: String, cell: Int)] {
    classes.enumerated().compactMap { code, name in
      guard case .cell(let cell) = column.place(of: Double(code)), cell < column.count - 1 else { return nil }
      return (name, cell)
    }
  }

  /// Share of each class; empty for a regression, and where nothing was answered.
  func shares(_ counts: DriftCounts) -> [(name: String, share: Double)] {
    let present = counts.present
    guard present > 0 else { return [] }
    return namedClasses.map { ($0.name, Double(counts.cells[$0.cell]) / Double(present)) }
  }
}
