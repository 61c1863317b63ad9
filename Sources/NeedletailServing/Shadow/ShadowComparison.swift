internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// How two versions' answers to the same rows differ.
struct ShadowComparison {
  struct Result: Equatable {
    /// Of two finite numbers, absolute.
    var maxDifference: Float = 0
    /// Rows with another class.
    var flips = 0
    /// Numbers of the shadow that are none.
    var nonFinite = 0
  }

  private struct Numbers {
    var mine: Int
    var its: Int
    var columns: Int
  }

  private struct Classes {
    var mine: Int
    var its: Int
    /// My class index → its; −1 where it does not know the label. Empty: the same.
    var map: [Float]
  }

  private let numbers: [Numbers]
  private let classes: Classes?
  /// Where no class is told, the largest of these numbers is one.
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

  /// - Parameter selection: the outputs of mine that are there, a bit each; numbers of the shadow's others are
  ///   still looked at.
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
