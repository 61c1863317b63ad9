internal import NeedletailCore
internal import NeedletailEngine

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
      guard let other = its.plan.outputs.firstIndex(where: { $0.name == output.name }) else { continue }
      let match = its.plan.outputs[other]
      if output.kind == .number {
        guard match.kind == .number, match.columns == output.columns else { continue }
        numbers.append(Numbers(mine: index, its: other, columns: output.columns))
      } else if match.kind != .number, classes == nil {
        let (from, to) = (mine.definition.labels, its.definition.labels)
        let map = from == to ? [] : from.map { label in Float(to.firstIndex(of: label) ?? -1) }
        classes = Classes(mine: index, its: other, map: map)
      }
    }
    self.numbers = numbers
    self.classes = classes
    scores = classes == nil ? numbers.first { $0.columns > 1 } : nil
  }

  func compare(_ mine: [UnsafeMutablePointer<Float>], _ its: borrowing Workspace, rows: Int) -> Result {
    var result = Result()
    for pair in numbers {
      let (a, b) = (mine[pair.mine], its.output(pair.its))
      for index in 0..<rows * pair.columns {
        let difference = abs(a[index] - b[index])
        if difference.isFinite { result.maxDifference = max(result.maxDifference, difference) }
        if !b[index].isFinite { result.nonFinite += 1 }
      }
    }
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
