public import NeedletailCore
internal import NeedletailEngine
public import NeedletailModels

/// All rows of one large request, computed on the calling thread a run of the plan at a time, for which nobody waits.
///
/// It has scratch of its own and keeps the version alive. Confined to its thread. Other threads of the engine are not asked
/// for help: they are for calls whose callers wait. Neither shadows nor live statistics nor captures see its rows, and no
/// counter of the version counts them: those are about the traffic of callers who wait, which a batch at night would bury.
public final class LargeRun {
  private let model: LiveModel
  private let plan: Plan
  private let tensors: UnsafeBufferPointer<TensorView>
  private let selection: UInt64
  private let workspace: Workspace
  private let pointers: OutputPointers
  private var collected = ScratchBuffer()
  private let memory: UnsafeMutablePointer<Float>
  public let rows: Int
  /// Rows that are computed.
  public private(set) var rowsDone = 0

  /// Rows of a request, and bytes of their texts.
  public struct Size {
    public var rows: Int
    public var textBytes: Int
  }

  /// Checks names, types and shapes of all tensors. Takes no memory.
  /// - Parameter max: most rows.
  /// - Throws: `.invalidArgument` naming the tensor.
  public static func size(
    of tensors: UnsafeBufferPointer<TensorView>, for model: LiveModel, max: Int
  ) throws(ServingError) -> Size {
    let size = try model.compiled.binder.size(of: tensors, max: BatchExtent(rows: max))
    return Size(rows: size.extent.rows, textBytes: size.textBytes)
  }

  /// Takes memory for the model's scratch and for the numbers of the answer, which the caller has found not to be too many.
  /// - Parameters:
  ///   - tensors: borrowed until the last ``step()``.
  ///   - size: of the tensors, as ``size(of:for:max:)`` found it.
  ///   - selection: outputs wanted, one bit each.
  /// - Throws: `.unavailable` where the system has no memory for the scratch.
  public init(
    _ model: LiveModel, _ tensors: UnsafeBufferPointer<TensorView>, size: Size, selection: UInt64
  ) throws(ServingError) {
    self.model = model
    self.tensors = tensors
    self.selection = selection
    plan = model.compiled.plan
    rows = size.rows
    workspace = try Self.scratch(plan)
    pointers = OutputPointers(plan, workspace: workspace)
    memory = collected.reserve(plan.collectedFloats(selection, rows: rows, textBytes: size.textBytes))
  }

  private static func scratch(_ plan: Plan) throws(ServingError) -> Workspace {
    do throws(PlanError) {
      return try Workspace(plan)
    } catch {
      throw .unavailable("memory: expected some for the scratch of the model, found none")
    }
  }

  public var isDone: Bool { rowsDone == rows }

  /// Computes as many rows as one run takes.
  /// - Throws: the error of a row, which is counted from the first one of the request.
  public func step() throws(ServingError) {
    let binder = model.compiled.binder
    let count = binder.rowsOfRun(tensors, from: rowsDone, of: rows, for: plan)
    var used = 0
    try binder.bind(tensors, rows: rowsDone..<rowsDone + count, into: workspace.rows, textBytesUsed: &used)
    plan.runAlone(workspace, rows: count)
    if let error = plan.textError(workspace, rows: 0..<count, first: rowsDone) { throw error }
    plan.collect(workspace, from: 0, count: count, selection: selection, into: memory, at: rowsDone, of: rows)
    rowsDone += count
  }

  /// For every output of the plan its `rows × columns` floats; those of outputs that were not asked for say nothing. Valid
  /// as long as this value.
  public var values: UnsafeBufferPointer<UnsafePointer<Float>> {
    pointers.point(at: memory, rows: rows, selection: selection)
  }
}
