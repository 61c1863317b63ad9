internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// Compares two versions' answers to the same rows.
struct ShadowComparison {
  struct Result: Equatable {
    /// Largest absolute difference of two finite numbers.
    var maxDifference: Float = 0
    /// Number of rows with another class.
    var flips = 0
    /// Number of the shadow's values that are NaN or infinite.
    var nonFinite = 0
  }

  private struct Numbers {
    /// Output of the version that answered.
    var mine: Int
    /// Output of the shadow.
    var its: Int
    var columns: Int
  }

  private struct Classes {
    var mine: Int
    var its: Int
    /// Shadow's class index for each class index of the version that answered; −1 where the shadow does not know the
    /// label. Empty: the indices are the same.
    var map: [Float]
  }

  private let numbers: [Numbers]
  private let classes: Classes?
  /// Numbers whose largest stands for the class, where no output is a class.
  private let scores: Numbers?

  init(_ mine: CompiledModel, _ its: CompiledModel) {
    var numbers: [Numbers] = []
    var classes: Classes?
    for (index, output) in mine.plan.outputs.enumerated() {
      guard let other = its.plan.outputs.firstIndex(where: output.isComparable) else { continue }
      if output.kind == .number {
        numbers.append(Numbers(mine: index, its: other, columns: output.columns))
      } else if classes == nil {
        let (from, to) = (mine.definition.labels, its.definition.labels)
        let map = from == to ? [] : from.map { label in Float(to.firstIndex(of: label) ?? -1) }
        classes = Classes(mine: index, its: other, map: map)
      }
    }
    self.numbers = numbers
    self.classes = classes
    scores = classes == nil ? numbers.first { $0.columns > 1 } : nil
  }

  /// - Parameter selection: outputs that were answered, one bit each. The shadow's values of all outputs are checked
  ///   for NaN.
  func compare(
    _ mine: [UnsafeMutablePointer<Float>], _ its: borrowing Workspace, rows: Int, selection: UInt64 = .max
  ) -> Result {
    var result = Result()
    for pair in numbers {
      let (a, b) = (mine[pair.mine], its.output(pair.its))
      let isThere = selection.selects(pair.mine)
      for index in 0..<rows * pair.columns {
        if !b[index].isFinite { result.nonFinite += 1 }
        guard isThere else { continue }
        let difference = abs(a[index] - b[index])
        if difference.isFinite { result.maxDifference = max(result.maxDifference, difference) }
      }
    }
    guard let index = classes?.mine ?? scores?.mine, selection.selects(index) else { return result }
    for row in 0..<rows where isFlipped(mine, its, row: row) { result.flips += 1 }
    return result
  }

  private func isFlipped(_ mine: [UnsafeMutablePointer<Float>], _ its: borrowing Workspace, row: Int) -> Bool {
    if let classes {
      let index = mine[classes.mine][row]
      let expected =
        classes.map.isEmpty ? index : classes.map.indices.contains(Int(index)) ? classes.map[Int(index)] : -1
      return expected != its.output(classes.its)[row]
    }
    guard let scores else { return false }
    return Self.largest(mine[scores.mine] + row * scores.columns, scores.columns)
      != Self.largest(its.output(scores.its) + row * scores.columns, scores.columns)
  }

  private static func largest(_ values: UnsafePointer<Float>, _ count: Int) -> Int {
    var best = 0
    for index in 1..<count where values[index] > values[best] { best = index }
    return best
  }
}
