internal import NeedletailCore
internal import NeedletailEngine

/// Counts NaN and infinities among the numbers of an answer.
enum NonFinite {
  /// - Complexity: O(count), branch-free: x − x is 0 for every finite x and NaN for all others.
  static func count(_ values: UnsafePointer<Float>, count: Int) -> Int {
    var found = 0
    for index in 0..<count {
      let difference = values[index] - values[index]
      found &+= difference == 0 ? 0 : 1
    }
    return found
  }
}

extension Plan {
  /// Numbers that are none among the outputs of a run.
  func nonFiniteOutputs(_ workspace: borrowing Workspace, rows: Int) -> Int {
    var found = 0
    for index in outputs.indices where outputs[index].kind == .number {
      found += NonFinite.count(workspace.output(index), count: rows * outputs[index].columns)
    }
    return found
  }
}
