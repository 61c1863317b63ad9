internal import CNeedletailKernels
public import NeedletailCore

/// What a plan writes under which name.
public struct PlanOutput: Sendable, Equatable {
  public let name: String
  public let kind: ModelGraph.Output.Kind
  /// 1 for class outputs.
  public let columns: Int
}

/// A compiled model: packed weights and a flat list of steps. Shared and read-only; any number of
/// threads may run it, each with its own ``Workspace``.
///
/// A row's answer is bit-identical on every instruction set and in whatever batch it runs, except
/// where ``PlanOptions/relaxed`` allows otherwise.
public final class Plan: Sendable {
  public let inputColumns: Int
  public let outputs: [PlanOutput]
  public let rowsMax: Int
  public let isa: InstructionSet
  /// `int8`, `fp32` or `mixed`: what the dense layers compute in.
  public let precision: String
  /// Packed weights and tables.
  public let residentBytes: Int
  /// Scratch of one ``Workspace``.
  public let workspaceBytes: Int
  /// For people.
  public let steps: [PlanStep]

  /// In bytes, into the workspace.
  let inputOffset: Int
  let outputOffsets: [Int]
  private let storage: PlanStorage
  /// Lies in `storage`, written before the plan was.
  private nonisolated(unsafe) let kernelPlan: UnsafePointer<nt_plan>

  /// Rows from which a relaxed plan hands fp32 layers to OpenBLAS: below, packing B on every call
  /// costs more than its kernels gain.
  private static let relaxedRowsMin = 64

  /// - Parameter inputColumns: features of the schema.
  /// - Throws: what is wrong with the graph or the options, naming the node.
  public init(_ graph: ModelGraph, inputColumns: Int, options: PlanOptions = PlanOptions()) throws(PlanError) {
    let isa = options.isa ?? InstructionSet.selected
    guard isa.isSupported, let kernels = nt_kernel_table_for(isa.kernelSet) else {
      throw PlanError("this CPU does not support the \(isa.rawValue) kernels")
    }
    guard (1...Limits.batchRowsMaxDefault).contains(options.rowsMax) else {
      throw PlanError("rows of a plan: expected 1 to \(Limits.batchRowsMaxDefault), found \(options.rowsMax)")
    }
    do throws(GraphFault) {
      try graph.check(inputColumns: inputColumns)
    } catch {
      throw PlanError(error)
    }

    let storage = PlanStorage()
    var compiler = PlanCompiler(graph, options: options, kernels: kernels, storage: storage)
    try compiler.compile()
    let layout = MemoryPlanner.plan(
      compiler.buffers.map {
        .init(bytes: $0.bytesPerRow * options.rowsMax, firstStep: $0.firstStep, lastStep: $0.lastStep)
      })
    guard layout.bytes <= Limits.workspaceBytesMax else {
      throw PlanError(
        "graph: expected at most \(Limits.workspaceBytesMax) bytes of scratch for \(options.rowsMax) rows, found \(layout.bytes)"
      )
    }

    let resolved = compiler.steps.map { step in
      var kernel = step.kernel
      kernel.in_offset = layout.offsets[step.input]
      kernel.out_offset = layout.offsets[step.output]
      if let scales = step.scales { kernel.scales_offset = layout.offsets[scales] }
      if let magnitudes = step.magnitudes { kernel.magnitudes_offset = layout.offsets[magnitudes] }
      return kernel
    }
    var kernelPlan = nt_plan()
    kernelPlan.kernels = kernels
    kernelPlan.steps = try storage.copy(resolved, for: nil)
    kernelPlan.step_count = resolved.count
    kernelPlan.share_rows_min = resolved.compactMap(\.shareRowsMin).min() ?? .max
    if options.relaxed {
      BLAS.useOneThread()
      kernelPlan.sgemm = BLAS.multiplyByTransposed
      kernelPlan.sgemm_rows_min = Self.relaxedRowsMin
    }

    func offset(ofValue value: Int) -> Int { compiler.bufferOfValue[value].map { layout.offsets[$0] } ?? 0 }
    self.inputColumns = inputColumns
    self.outputs = graph.outputs.map {
      PlanOutput(name: $0.name, kind: $0.kind, columns: graph.values[$0.value].columns)
    }
    self.rowsMax = options.rowsMax
    self.isa = isa
    self.precision =
      switch (compiler.denseInt8Count, compiler.denseFloatCount) {
      case (1..., 0): "int8"
      case (0, _): "fp32"
      default: "mixed"
      }
    self.steps = compiler.steps.map { step in
      func place(_ buffer: Int) -> PlanStep.Buffer {
        let start = layout.offsets[buffer]
        return start..<start + compiler.buffers[buffer].bytesPerRow * options.rowsMax
      }
      return PlanStep(step, input: place(step.input), output: place(step.output))
    }
    self.inputOffset = offset(ofValue: 0)
    self.outputOffsets = graph.outputs.map { offset(ofValue: $0.value) }
    self.workspaceBytes = layout.bytes
    self.kernelPlan = try storage.copy([kernelPlan], for: nil)
    self.residentBytes = storage.bytes
    self.storage = storage
  }

  /// As ``run(_:rows:)``, and how long each step took, in nanoseconds.
  ///
  /// Reading the clock adds some 20 ns a step: for tools, not for serving.
  public func timedRun(_ workspace: borrowing Workspace, rows: Int) -> [UInt64] {
    precondition(workspace.plan === self, "a workspace runs only the plan it was made for")
    precondition(rows >= 1 && rows <= rowsMax, "rows out of range")
    return [UInt64](unsafeUninitializedCapacity: steps.count) { nanoseconds, count in
      nt_plan_run_timed(kernelPlan, workspace.memory, rows, nanoseconds.baseAddress)
      count = steps.count
    }
  }

  /// Computes `rows` rows from the workspace's input to its outputs: one C call, no allocation, no lock.
  ///
  /// The input rows stay as they are.
  /// - Parameter rows: 1 … `rowsMax`.
  public func run(_ workspace: borrowing Workspace, rows: Int) {
    precondition(workspace.plan === self, "a workspace runs only the plan it was made for")
    precondition(rows >= 1 && rows <= rowsMax, "rows out of range")
    nt_plan_run(kernelPlan, workspace.memory, rows)
  }

  /// The same on the caller's thread only, whatever the pool could do: for a loader, which must not take
  /// the pool's threads from those who serve. The outputs are the same.
  /// - Parameter rows: 1 … `rowsMax`.
  public func runAlone(_ workspace: borrowing Workspace, rows: Int) {
    precondition(workspace.plan === self, "a workspace runs only the plan it was made for")
    precondition(rows >= 1 && rows <= rowsMax, "rows out of range")
    nt_plan_run_alone(kernelPlan, workspace.memory, rows)
  }
}

extension nt_step {
  /// Of a matrix product, else 0.
  fileprivate var multiplyAddsPerRow: Int {
    kind == NT_STEP_DENSE_S8 || kind == NT_STEP_DENSE_F32 ? Int(in_columns) * Int(out_columns) : 0
  }

  /// Rows from which the pool's threads share it.
  fileprivate var shareRowsMin: Int? {
    guard multiplyAddsPerRow > 0, out_columns > NT_PANEL_COLUMNS else { return nil }
    return (Int(NT_SHARE_MULTIPLY_ADDS_MIN) + multiplyAddsPerRow - 1) / multiplyAddsPerRow
  }

  /// Its entry of the kernel table.
  fileprivate var kernelName: String {
    switch kind {
    case NT_STEP_PREPROCESS: "preprocess"
    case NT_STEP_QUANTISE: has_magnitudes ? "quantise_known" : "quantise"
    case NT_STEP_DENSE_S8: "s8_gemm"
    case NT_STEP_DENSE_F32: "f32_gemm"
    case NT_STEP_LOGISTIC: "logistic"
    case NT_STEP_SOFTMAX: "softmax"
    default: "argmax"
    }
  }
}

extension PlanStep {
  fileprivate init(_ step: PlanCompiler.Step, input: Buffer, output: Buffer) {
    self.init(
      node: step.node, operation: step.operation, kernel: step.kernel.kernelName,
      inputColumns: Int(step.kernel.in_columns), outputColumns: Int(step.kernel.out_columns),
      weightBytes: step.weightBytes, multiplyAddsPerRow: step.kernel.multiplyAddsPerRow, input: input,
      output: output, sharedFromRows: step.kernel.shareRowsMin)
  }
}
