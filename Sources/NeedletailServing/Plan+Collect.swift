internal import NeedletailEngine

/// Answers that do not stay in a workspace until they are encoded lie output after output, each with all
/// rows of its call; outputs that nobody asked for are left out.
extension Plan {
  /// Floats that one row of the outputs of `selection` takes.
  func collectedFloatsPerRow(_ selection: UInt64) -> Int {
    var floats = 0
    for index in outputs.indices where selection.selects(index) { floats += outputs[index].floatsPerRow }
    return floats
  }

  /// Copies the outputs of `count` rows, from `first` on, out of a workspace.
  /// - Parameters:
  ///   - room: of `rows` rows of the outputs of `selection`.
  ///   - row: the call's row that the workspace's row `first` is.
  ///   - rows: of the whole call.
  func collect(
    _ workspace: borrowing Workspace, from first: Int, count: Int, selection: UInt64,
    into room: UnsafeMutablePointer<Float>, at row: Int, of rows: Int
  ) {
    var start = room
    for index in outputs.indices where selection.selects(index) {
      let width = outputs[index].floatsPerRow
      (start + row * width).update(from: workspace.output(index) + first * width, count: count * width)
      start += rows * width
    }
  }
}
