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

  /// Points at `starts`, one per output.
  borrowing func point(at starts: [UnsafeMutablePointer<Float>]) -> UnsafeBufferPointer<UnsafePointer<Float>> {
    for index in starts.indices { pointers[index] = UnsafePointer(starts[index]) }
    return UnsafeBufferPointer(pointers)
  }
}

extension PlanOutput {
  /// A class is one index.
  var floatsPerRow: Int { kind == .number ? columns : 1 }
}
