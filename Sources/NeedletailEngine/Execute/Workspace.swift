/// One thread's scratch for one plan, reused from run to run.
///
/// Unchecked: it is never shared, for it cannot be copied; whoever owns it may move it to another
/// thread between runs.
public struct Workspace: ~Copyable, @unchecked Sendable {
  let plan: Plan
  /// Aligned for every kernel, every page touched.
  let memory: UnsafeMutableRawPointer

  public init(_ plan: Plan) {
    self.plan = plan
    guard let memory = AlignedMemory.allocate(bytes: plan.workspaceBytes) else {
      // As Swift's own allocations end; what a load will need is asked for before it begins.
      fatalError("no memory for \(plan.workspaceBytes) bytes of scratch")
    }
    self.memory = memory
  }

  deinit { AlignedMemory.free(memory, bytes: plan.workspaceBytes) }

  /// `rowsMax × inputColumns`, row-major: bound rows go here.
  public var input: UnsafeMutablePointer<Float> {
    (memory + plan.inputOffset).assumingMemoryBound(to: Float.self)
  }

  /// Answers of the last run: rows × columns, row-major; class outputs hold one index per row.
  ///
  /// - Parameter index: into ``Plan/outputs``.
  public func output(_ index: Int) -> UnsafePointer<Float> {
    UnsafePointer((memory + plan.outputOffsets[index]).assumingMemoryBound(to: Float.self))
  }
}
