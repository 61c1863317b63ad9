internal import NeedletailCore
internal import NeedletailEngine

/// One pointer per output of a plan, as an encoder wants them. Filled anew before each answer.
struct OutputPointers: ~Copyable {
  private let plan: Plan
  private let pointers: UnsafeMutableBufferPointer<UnsafePointer<Float>>

  init(_ plan: Plan, workspace: borrowing Workspace) {
    self.plan = plan
    pointers = .allocate(capacity: plan.outputs.count)
    for index in plan.outputs.indices { pointers.initializeElement(at: index, to: workspace.output(index)) }
  }

  deinit {
    pointers.deinitialize()
    pointers.deallocate()
  }

  /// Points at row `row` of the workspace's outputs.
  borrowing func point(at workspace: borrowing Workspace, row: Int) -> UnsafeBufferPointer<UnsafePointer<Float>> {
    for index in plan.outputs.indices {
      pointers[index] = workspace.output(index) + row * plan.outputs[index].floatsPerRow
    }
    return UnsafeBufferPointer(pointers)
  }

  /// Points at what ``Plan/collect(_:count:selection:into:at:of:)`` gathered for `rows` rows.
  borrowing func point(
    at room: UnsafePointer<Float>, rows: Int, selection: UInt64
  ) -> UnsafeBufferPointer<UnsafePointer<Float>> {
    var start = room
    for index in plan.outputs.indices {
      pointers[index] = start
      if selection.selects(index) { start += rows * plan.outputs[index].floatsPerRow }
    }
    return UnsafeBufferPointer(pointers)
  }
}

extension PlanOutput {
  /// A class is one index.
  var floatsPerRow: Int { kind == .number ? columns : 1 }
}

extension UInt64 {
  /// Whether a set of outputs, a bit each, holds this one.
  func selects(_ output: Int) -> Bool { self >> UInt64(output) & 1 == 1 }
}
