internal import NeedletailCore
public import NeedletailEngine

/// What of a version's answers is remembered: for each row the class and the probabilities, or the number.
public struct PredictionShape: Sendable, Equatable {
  /// What one remembered row says.
  public enum Prediction: Equatable {
    /// Index of a class, and a probability for each class; empty where the model gives none.
    case ofClass(Int, probabilities: ArraySlice<Float>)
    case number(Double)
    /// The answer was NaN or infinite.
    case nothing
  }

  private enum Value: Sendable, Equatable {
    /// Output that holds the index of a class.
    case index(Int)
    /// Output whose largest column is the class.
    case largest(Int)
    /// Output that is the number.
    case number(Int)
  }

  /// Names of the classes; empty for a regression, and for classes that have none.
  public let labels: [String]
  public let isClassification: Bool
  /// Floats that are remembered of one row.
  public let floatsPerRow: Int
  private let value: Value
  /// Output of a probability for each class, and its columns.
  private let probabilities: (output: Int, columns: Int)?

  /// - Returns: nil for a model that answers neither a class nor one number.
  public init?(outputs: [PlanOutput], labels: [String]) {
    let index = outputs.firstIndex { $0.kind != .number }
    let scores = outputs.firstIndex { output in
      output.kind == .number && output.columns > 1 && (labels.isEmpty ? index != nil : output.columns == labels.count)
    }
    if let index {
      value = .index(index)
    } else if let scores {
      value = .largest(scores)
    } else if labels.isEmpty, let number = outputs.firstIndex(where: { $0.kind == .number && $0.columns == 1 }) {
      value = .number(number)
    } else {
      return nil
    }
    self.labels = labels
    if case .number = value { isClassification = false } else { isClassification = true }
    let columns = scores.map { outputs[$0].columns } ?? 0
    probabilities =
      isClassification && columns > 0 && columns <= Limits.feedbackClassesMax ? scores.map { ($0, columns) } : nil
    floatsPerRow = 1 + (probabilities?.columns ?? 0)
  }

  public static func == (a: PredictionShape, b: PredictionShape) -> Bool {
    a.labels == b.labels && a.value == b.value && a.probabilities?.output == b.probabilities?.output
      && a.probabilities?.columns == b.probabilities?.columns
  }

  /// Whether all outputs that are remembered are in a set of outputs, one bit each.
  public func isIn(_ selection: UInt64) -> Bool {
    let output =
      switch value {
      case .index(let output), .largest(let output), .number(let output): output
      }
    let other = probabilities?.output ?? output
    return selection >> UInt64(output) & selection >> UInt64(other) & 1 == 1
  }

  /// Copies what is remembered of some rows. Called by event loops; it allocates nothing.
  /// - Parameters:
  ///   - values: for every output of the plan its `rows × columns` floats.
  ///   - outputs: of the plan.
  ///   - target: room for `rows ×` ``floatsPerRow`` floats.
  public func copy(
    _ values: UnsafeBufferPointer<UnsafePointer<Float>>, _ outputs: [PlanOutput], rows: Int,
    to target: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<rows {
      let place = target + row * floatsPerRow
      switch value {
      case .index(let output), .number(let output): place[0] = values[output][row]
      case .largest(let output):
        let columns = outputs[output].columns
        let scores = values[output] + row * columns
        var best = 0
        for index in 1..<columns where scores[index] > scores[best] { best = index }
        place[0] = scores[best].isNaN ? .nan : Float(best)
      }
      guard let probabilities else { continue }
      (place + 1).update(
        from: values[probabilities.output] + row * probabilities.columns, count: probabilities.columns)
    }
  }

  /// One remembered row.
  /// - Parameter floats: its ``floatsPerRow`` floats.
  public func prediction(_ floats: ArraySlice<Float>) -> Prediction {
    guard let first = floats.first, first.isFinite else { return .nothing }
    guard isClassification else { return .number(Double(first)) }
    guard first >= 0, first < 0x1p24 else { return .nothing }
    return .ofClass(Int(first), probabilities: floats.dropFirst())
  }

  /// Index of each label. A model may have thousands of them, so that whoever joins outcomes keeps this.
  public var classes: [String: Int] {
    Dictionary(labels.enumerated().map { ($1, $0) }) { first, _ in first }
  }

  /// What a reported truth says of this model: the index of a class, or the number.
  /// - Parameter classes: ``classes``.
  /// - Throws: `.value` for a truth of another kind, `.class` for a class that the model does not know.
  public func truth(_ truth: Outcome.Truth, _ classes: [String: Int]) throws(OutcomeFault) -> Double {
    switch truth {
    case .label(let label):
      guard isClassification, !labels.isEmpty else { throw OutcomeFault(result: .value) }
      guard let index = classes[label] else { throw OutcomeFault(result: .class) }
      return Double(index)
    case .number(let number):
      guard number.isFinite else { throw OutcomeFault(result: .value) }
      guard isClassification else { return number }
      guard labels.isEmpty else { throw OutcomeFault(result: .value) }
      let count = probabilities?.columns ?? Int(Int32.max)
      guard let index = Int(exactly: number), index >= 0, index < count else { throw OutcomeFault(result: .class) }
      return number
    }
  }
}

/// Why an outcome cannot count.
public struct OutcomeFault: Error, Equatable {
  public let result: OutcomeResult
}
