internal import NeedletailCore
internal import NeedletailEngine

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
