internal import CNeedletailKernels
public import NeedletailCore

/// Why a graph or a schema cannot be compiled: the node at fault, if one is, and one sentence.
public struct PlanError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Name of the node (or of the feature) at fault, as the bundle spells it.
  public let node: String?
  public let message: String
  /// Whether the system had no memory, which says nothing about the graph.
  public let isMemoryShort: Bool

  public init(node: String? = nil, _ message: String, isMemoryShort: Bool = false) {
    self.node = node
    self.message = message
    self.isMemoryShort = isMemoryShort
  }

  init(_ fault: GraphFault) {
    self.init(node: fault.node, fault.message, isMemoryShort: fault.kind == .memory)
  }

  public var description: String { message }
}

/// C ← A · Bᵀ by a library outside of the engine, all row-major and dense: A is rows × depth, B is columns × depth.
public typealias RelaxedProduct =
  @Sendable @convention(c) (
    _ a: UnsafePointer<Float>?, _ b: UnsafePointer<Float>?, _ c: UnsafeMutablePointer<Float>?,
    _ rows: Int, _ columns: Int, _ depth: Int
  ) -> Void

/// How a plan is compiled.
public struct PlanOptions: Sendable {
  /// Largest extent of one run; scratch grows with it. Rows: 1 … `Limits.batchRowsMaxDefault`.
  public var extentMax = BatchExtent(rows: 256)
  /// Allows large fp32 layers to be computed with weights rounded to bf16, and by this product, where that is faster: a
  /// row's answer then differs by some 0.2 %, and may depend on how many rows ran with it. Nil allows neither.
  public var relaxed: RelaxedProduct?
  /// The kernels to use; nil takes ``InstructionSet/selected``.
  public var isa: InstructionSet?
  /// Nanoseconds that a part of a layer must take to be worth a thread of the pool; nil: as long as waking a helper took
  /// when the pool was started.
  public var sharedPartNanosecondsMin: Int?
  /// Bytes of one text of a call.
  public var textBytesMax = Limits.textBytesMaxDefault

  public init() {}

  /// ``extentMax`` of rows that are one unit each, as in models of tables.
  public var rowsMax: Int {
    get { extentMax.rows }
    set { extentMax = BatchExtent(rows: newValue) }
  }
}

/// Output that a plan writes, with its name.
public struct PlanOutput: Sendable, Equatable {
  public let name: String
  public let kind: OutputKind
  /// 1 for class outputs.
  public let columns: Int
}

/// One step of a compiled plan, for people.
public struct PlanStep: Sendable, Equatable, CustomStringConvertible {
  /// Bytes of the arena at the plan's largest batch.
  public typealias Buffer = Range<Int>

  /// Name of the graph's node that it computes, the first of those that were fused.
  public let node: String
  /// Operation in words, e.g. `dense relu int8`.
  public let operation: String
  /// The kernel that runs it.
  public let kernel: String
  public let inputColumns: Int
  public let outputColumns: Int
  /// Packed weights, with scales and biases.
  public let weightBytes: Int
  /// Multiply-adds for each item of a matrix product; 0 for other steps.
  public let multiplyAddsPerItem: Int
  /// Whether its items are units, such as tokens, and not rows.
  public let isPerUnit: Bool
  /// First values that it reads and writes; two steps share bytes if one is done with them before the other
  /// begins.
  public let input: Buffer
  public let output: Buffer
  /// Rows from which the threads of the engine's pool share it; nil for what always runs alone.
  public let sharedFromRows: Int?

  public var description: String { "\(node): \(operation), \(inputColumns) → \(outputColumns)" }
}

/// A compiled model: packed weights and a flat list of steps. Shared and read-only; any number of
/// threads may run it, each with its own ``Workspace``.
///
/// A row's answer is bit-identical on every instruction set and in whatever batch it runs, except
/// where ``PlanOptions/relaxed`` allows otherwise.
public final class Plan: Sendable {
  /// Type of value 0: what the binder writes into a workspace.
  public let input: ValueType
  /// Bytes of one item of the input; items stand one after the other.
  public let inputItemBytes: Int
  /// Texts of one row; 0 for a model that reads none.
  public let textsPerRow: Int
  /// Bytes that all texts of one run may have together: at least the largest ones of one row.
  public let textBytesMax: Int
  public let outputs: [PlanOutput]
  /// Output whose numbers are places in texts; nil: there is none, or several.
  public let spans: SpanOutput?
  /// What answers of the model show of its outputs.
  public let answerTensors: [AnswerTensor]
  /// Largest extent of one run.
  public let extentMax: BatchExtent
  public let isa: InstructionSet
  /// `int8`, `fp32` or `mixed`: what the dense layers compute in; `bf16` for fp32 layers that may be rounded to it.
  public let precision: String
  /// Whether answers may differ from those that the bundle's trainer saw by what ``PlanOptions/relaxed`` allows.
  public let mayRound: Bool
  /// Packed weights and tables.
  public let residentBytes: Int
  /// Scratch of one ``Workspace``.
  public let workspaceBytes: Int
  /// The steps in their order, for people.
  public let steps: [PlanStep]

  public var inputColumns: Int { input.columns }
  /// Bytes of the places of one row's texts.
  public var textItemBytes: Int { textsPerRow * MemoryLayout<nt_text_item>.stride }
  public var rowsMax: Int { extentMax.rows }

  /// In bytes, into the workspace.
  let inputOffset: Int
  let textsOffset: Int
  let outputOffsets: [Int]
  /// How many tokens the rows of a run may have; nil for a model that does not read text as tokens, whose rows are one
  /// unit each.
  public let tokenBound: TokenBound?
  /// Where a workspace has the begin of each row's tokens; nil in plans without values per token.
  let startsOffset: Int?
  /// Where a workspace has what became of each row's texts, and its tokenizer's scratch.
  let statusesOffset: Int?
  let tokenizer: (scratch: TokenizerScratch, offset: Int)?
  let storage: PlanStorage
  /// Products of the layers, by layer and number of rows.
  let kernelChoice: KernelChoice
  /// Lies in `storage`, written before the plan was.
  private nonisolated(unsafe) let kernelPlan: UnsafePointer<nt_plan>

  /// - Throws: what is wrong with the graph or the options, naming the node.
  public convenience init(_ graph: ModelGraph, options: PlanOptions = PlanOptions()) throws(PlanError) {
    do throws(GraphFault) {
      try graph.check()
    } catch {
      throw PlanError(error)
    }
    try self.init(checked: graph, options: options)
  }

  /// - Parameter graph: one that ``ModelGraph/check()`` has passed.
  init(checked graph: ModelGraph, options: PlanOptions) throws(PlanError) {
    let isa = options.isa ?? InstructionSet.selected
    guard isa.isSupported else { throw PlanError("this CPU does not support the \(isa.rawValue) kernels") }
    var extent = options.extentMax
    guard (1...Limits.batchRowsMaxDefault).contains(extent.rows) else {
      throw PlanError("rows of a plan: expected 1 to \(Limits.batchRowsMaxDefault), found \(extent.rows)")
    }
    guard (1...Int(NT_PLAN_ITEMS_MAX)).contains(extent.units) else {
      throw PlanError("units of a plan: expected 1 to \(NT_PLAN_ITEMS_MAX), found \(extent.units)")
    }
    var options = options
    tokenBound = graph.tokenBound
    if let tokenBound { extent.units = max(Limits.runTokensMin, tokenBound.rowMax) }
    options.extentMax = extent

    let storage = PlanStorage()
    var builder = PlanBuilder(graph, options: options, isa: isa, storage: storage)
    try builder.compile()
    let layout = MemoryPlanner.plan(
      builder.buffers.map { .init(bytes: $0.bytes(extent), firstStep: $0.firstStep, lastStep: $0.lastStep) })
    textsPerRow = graph.textInput.map { graph.values[$0].columns } ?? 0
    textBytesMax = textsPerRow == 0 ? 0 : max(Limits.runTextBytesMin, textsPerRow * options.textBytesMax)
    guard layout.bytes + textBytesMax <= Limits.workspaceBytesMax else {
      throw PlanError(
        "graph: expected at most \(Limits.workspaceBytesMax) bytes of scratch for \(extent.rows) rows, found \(layout.bytes + textBytesMax)"
      )
    }

    func offset(ofValue value: Int) -> Int { builder.bufferOfValue[value].map { layout.offsets[$0] } ?? 0 }
    input = graph.values[0].type
    inputItemBytes = graph.values[0].type.itemBytes
    outputs = graph.outputs.map {
      PlanOutput(name: $0.name, kind: $0.kind, columns: graph.values[$0.value].columns)
    }
    let tensors = outputs.enumerated().map {
      AnswerTensor(name: $1.name, kind: $1.kind, columns: $1.columns, source: $0)
    }
    let spans = SpanOutput(graph)
    answerTensors = AnswerTensor.all(of: tensors, spans)
    self.spans = answerTensors.hasParts ? spans : nil
    extentMax = extent
    self.isa = isa
    mayRound = builder.choosableLayers.contains { if case .float32 = $0 { true } else { false } }
    precision =
      switch (builder.int8ProductCount, builder.floatProductCount) {
      case (1..., 0): "int8"
      case (0, _): mayRound ? "bf16" : "fp32"
      default: "mixed"
      }
    steps = builder.steps.map { step in
      func place(_ buffer: Int) -> PlanStep.Buffer {
        let start = layout.offsets[buffer]
        return start..<start + builder.buffers[buffer].bytes(extent)
      }
      return PlanStep(step, input: place(step.buffers[0]), output: place(step.written))
    }
    inputOffset = offset(ofValue: 0)
    textsOffset = graph.textInput.map { offset(ofValue: $0) } ?? 0
    outputOffsets = graph.outputs.map { offset(ofValue: $0.value) }
    startsOffset = builder.startsBuffer.map { layout.offsets[$0] }
    statusesOffset = builder.statusesBuffer.map { layout.offsets[$0] }
    tokenizer = builder.tokenizerScratch.map { ($0, layout.offsets[$0.buffer]) }
    workspaceBytes = layout.bytes + textBytesMax
    kernelPlan = try Self.kernelPlan(builder, layout, in: storage)
    kernelChoice = KernelChoice(builder.choosableLayers)
    storage.seal()
    residentBytes = storage.bytes
    self.storage = storage
    try chooseKernels()
  }

  /// Times the products that a layer may be computed by, and takes the fastest for each layer and number of rows. They
  /// give the same bits, where the plan may not round. Other threads may run it meanwhile. One thread at a time may call
  /// this, and no event loop: it takes some 10 ms for a large plan.
  ///
  /// - Returns: how many choices are others than before.
  /// - Throws: if there is no memory for rows to time with.
  @discardableResult
  public func chooseKernels() throws(PlanError) -> Int {
    try kernelChoice.decide(rowsMax: extentMax.units) { layer, way, rows throws(PlanError) in
      try layer.microseconds(way: way, rows: rows)
    }
  }

  /// Whether ``chooseKernels()`` has anything to choose from on this machine.
  public var hasKernelChoices: Bool { !kernelChoice.isEmpty }

  /// The plan as the kernels see it.
  private static func kernelPlan(
    _ builder: PlanBuilder, _ layout: MemoryPlanner.Layout, in storage: PlanStorage
  ) throws(PlanError) -> UnsafePointer<nt_plan> {
    // One block for the offsets of all steps, so that a run reads them forward.
    let offsets = try storage.copy(builder.steps.flatMap { $0.buffers.map { layout.offsets[$0] } }, for: nil)
    var first = 0
    var steps: [nt_step] = []
    for step in builder.steps {
      steps.append(
        nt_step(
          run: step.run, parameters: step.parameters, offsets: offsets + first, count: step.domain.count,
          finds_units: step.findsUnits))
      first += step.buffers.count
    }
    func sharedFrom(_ count: nt_count) -> Int {
      builder.steps.filter { $0.domain.count == count }.compactMap(\.sharedFromItems).min() ?? .max
    }
    let plan = nt_plan(
      steps: try storage.copy(steps, for: nil), step_count: steps.count,
      share_rows_min: sharedFrom(NT_COUNT_ROWS), share_units_min: sharedFrom(NT_COUNT_UNITS),
      starts_offset: builder.startsBuffer.map { layout.offsets[$0] } ?? .max)
    return try storage.copy([plan], for: nil)
  }

  // MARK: - running

  /// Computes an extent from the workspace's input to its outputs: one C call, no allocation, no lock.
  ///
  /// The input stays as it is.
  /// - Parameter extent: at least a row and a unit, at most ``extentMax``.
  public func run(_ workspace: borrowing Workspace, _ extent: BatchExtent) {
    check(workspace, extent)
    nt_plan_run(kernelPlan, workspace.memory, extent.rows, extent.units)
  }

  /// Runs rows that are one unit each, as in models of tables, or whose tokens the run finds.
  /// - Parameter rows: 1 … `rowsMax`, and no more tokens than fit.
  public func run(_ workspace: borrowing Workspace, rows: Int) { run(workspace, extent(rows: rows)) }

  /// Runs on the caller's thread only, whatever the pool could do: for a loader, which must not take
  /// the pool's threads from those who serve. The outputs are the same.
  /// - Parameter extent: as in ``run(_:_:)``.
  public func runAlone(_ workspace: borrowing Workspace, _ extent: BatchExtent) {
    check(workspace, extent)
    nt_plan_run_alone(kernelPlan, workspace.memory, extent.rows, extent.units)
  }

  /// ``runAlone(_:_:)`` as ``run(_:rows:)`` takes rows.
  public func runAlone(_ workspace: borrowing Workspace, rows: Int) { runAlone(workspace, extent(rows: rows)) }

  private func extent(rows: Int) -> BatchExtent {
    tokenBound == nil ? BatchExtent(rows: rows) : BatchExtent(rows: rows, units: extentMax.units)
  }

  /// Runs, and tells how long each step took, in nanoseconds.
  ///
  /// Reading the clock adds some 20 ns a step: for tools, not for serving.
  public func timedRun(_ workspace: borrowing Workspace, rows: Int) -> [UInt64] {
    let extent = extent(rows: rows)
    check(workspace, extent)
    return [UInt64](unsafeUninitializedCapacity: steps.count) { nanoseconds, count in
      nt_plan_run_timed(kernelPlan, workspace.memory, extent.rows, extent.units, nanoseconds.baseAddress)
      count = steps.count
    }
  }

  @inline(__always)
  private func check(_ workspace: borrowing Workspace, _ extent: BatchExtent) {
    precondition(workspace.plan === self, "a workspace runs only the plan it was made for")
    // Rows of text may have no tokens.
    let unitsMin = startsOffset == nil ? 1 : 0
    precondition(extent.rows >= 1 && extent.units >= unitsMin && extent.fits(in: extentMax), "extent out of range")
  }
}

extension PlanStep {
  fileprivate init(_ step: PlanBuilder.Step, input: Buffer, output: Buffer) {
    self.init(
      node: step.node, operation: step.words, kernel: step.kernel, inputColumns: step.inputColumns,
      outputColumns: step.outputColumns, weightBytes: step.weightBytes,
      multiplyAddsPerItem: step.multiplyAddsPerItem, isPerUnit: step.domain == .token, input: input, output: output,
      sharedFromRows: step.sharedFromItems)
  }
}

/// One thread's scratch for one plan, reused from run to run.
///
/// Unchecked: it is never shared, for it cannot be copied; its owner may move it to another thread between runs.
public struct Workspace: ~Copyable, @unchecked Sendable {
  let plan: Plan
  /// Aligned for every kernel, every page touched.
  let memory: UnsafeMutableRawPointer

  /// - Throws: if the system has no memory for it.
  public init(_ plan: Plan) throws(PlanError) {
    guard let memory = AlignedMemory.allocate(bytes: plan.workspaceBytes) else {
      throw PlanError("scratch: expected memory for \(plan.workspaceBytes) bytes, found none", isMemoryShort: true)
    }
    self.plan = plan
    self.memory = memory
    if let tokenizer = plan.tokenizer { tokenizer.scratch.make(at: memory + tokenizer.offset) }
  }

  deinit { AlignedMemory.free(memory, bytes: plan.workspaceBytes) }

  /// Room for bound items of the plan's largest extent, ``Plan/inputItemBytes`` each, one after the other.
  public var input: UnsafeMutableRawPointer { memory + plan.inputOffset }

  /// Answers of the last run: rows × columns, row-major; class outputs hold one index per row.
  ///
  /// - Parameter index: into ``Plan/outputs``.
  public func output(_ index: Int) -> UnsafePointer<Float> {
    UnsafePointer((memory + plan.outputOffsets[index]).assumingMemoryBound(to: Float.self))
  }
}

/// Scratch of one version for every thread that may run it, made before the version goes live: an event loop that met a
/// new version would otherwise map and touch its memory while calls wait.
public final class WorkspaceSet: Sendable {
  /// One thread's workspace.
  ///
  /// Unchecked: the thread of its index uses it, and no other.
  public final class Member: @unchecked Sendable {
    public let workspace: Workspace

    fileprivate init(_ plan: Plan) throws(PlanError) { workspace = try Workspace(plan) }
  }

  private let members: [Member]
  /// Workspace for work that no caller waits for: warming, then copies of calls while the version is a shadow.
  public let background: Member

  /// - Parameter threads: event loops and workers.
  /// - Throws: if the system has no memory for all of them.
  public init(_ plan: Plan, threads: Int) throws(PlanError) {
    var members: [Member] = []
    for _ in 0..<threads { members.append(try Member(plan)) }
    self.members = members
    background = try Member(plan)
  }

  /// The workspace of the thread with this index; event loops come first, then workers.
  public subscript(thread: Int) -> Member { members[thread] }

  /// Bytes of all workspaces that a version of this plan needs.
  public static func bytes(_ plan: Plan, threads: Int) -> Int { plan.workspaceBytes * (threads + 1) }
}
