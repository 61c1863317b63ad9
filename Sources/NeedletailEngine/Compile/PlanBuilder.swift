internal import CNeedletailKernels
internal import NeedletailCore

/// Lowers a checked graph to a flat list of steps. It drops what no output needs and says which buffer lives when;
/// what a node becomes is up to its operation.
public struct PlanBuilder {
  /// Scratch that steps read and write; its place is planned once all steps are known.
  struct Buffer {
    var bytesPerItem: Int
    /// The need of a step beside that, however many items it computes.
    var bytesOnce = 0
    var domain: ValueType.Domain
    /// Steps between which its bytes must stay untouched, both inclusive; −1: there before the first step.
    var firstStep: Int
    var lastStep: Int

    func bytes(_ extent: BatchExtent) -> Int { bytesPerItem * domain.items(of: extent) + bytesOnce }
  }

  /// A step whose buffers have no offsets yet.
  struct Step {
    var run: nt_step_function
    var parameters: UnsafeRawPointer
    /// In the order that the kernel's header tells.
    var buffers: [Int]
    /// The one of them that it writes, for people.
    var written: Int
    var domain: ValueType.Domain
    /// It writes where the tokens of each row begin.
    var findsUnits = false
    /// Items from which the pool's threads share it; nil for what always runs alone.
    var sharedFromItems: Int?

    // Facts about the step, for people.
    /// Name of the node at its head.
    var node: String
    var words: String
    var kernel: String
    var inputColumns: Int
    var outputColumns: Int
    var weightBytes = 0
    var multiplyAddsPerItem = 0
  }

  let graph: ModelGraph
  let options: PlanOptions
  /// The instruction set that will run the plan: weights are packed in its order.
  let isa: InstructionSet
  let storage: PlanStorage

  private(set) var steps: [Step] = []
  private(set) var buffers: [Buffer] = []
  /// Per value: the buffer that holds it, once some step writes it.
  private(set) var bufferOfValue: [Int?]
  /// Where the tokens of each row begin; nil in graphs without values per token.
  private(set) var startsBuffer: Int?
  /// What became of the texts of each row: an `nt_text_status`; nil in graphs without a tokenizer.
  private(set) var statusesBuffer: Int?
  var tokenizerScratch: TokenizerScratch?
  /// Buffers that stay as they are from the first step to the last.
  private var keptBuffers: [Int] = []
  private(set) var int8ProductCount = 0
  private(set) var floatProductCount = 0
  var quantisation = Quantised()
  /// Parameters of the layers' steps whose products may be chosen anew as long as the plan lives.
  var choosableLayers: [ChoosableLayer] = []

  /// Per value: the needed nodes that read it, in order.
  private let readersOfValue: [[Int]]
  private let isOutput: [Bool]
  /// Values of which no element is below 0.
  private var nonnegative: Set<Int> = []
  /// Nodes that are not needed, or run as part of an earlier node's step.
  private var isDone: [Bool]

  /// - Parameter graph: checked.
  init(_ graph: ModelGraph, options: PlanOptions, isa: InstructionSet, storage: PlanStorage) {
    self.graph = graph
    self.options = options
    self.isa = isa
    self.storage = storage
    var isOutput = [Bool](repeating: false, count: graph.values.count)
    for output in graph.outputs { isOutput[output.value] = true }
    // Backwards: what no output depends on is not computed.
    var isNeeded = isOutput
    var isDone = [Bool](repeating: true, count: graph.nodes.count)
    var readers = [[Int]](repeating: [], count: graph.values.count)
    for (index, node) in graph.nodes.enumerated().reversed() where node.outputs.contains(where: { isNeeded[$0] }) {
      isDone[index] = false
      for input in node.inputs {
        isNeeded[input] = true
        if readers[input].first != index { readers[input].insert(index, at: 0) }
      }
    }
    self.isOutput = isOutput
    self.isDone = isDone
    readersOfValue = readers
    bufferOfValue = Array(repeating: nil, count: graph.values.count)
  }

  mutating func compile() throws(PlanError) {
    try reserveMemory()
    let bound = [0] + (graph.textInput.map { [$0] } ?? [])
    for value in bound {
      bufferOfValue[value] = buffers.count
      buffers.append(buffer(for: value, firstStep: -1))
    }
    if graph.values.contains(where: { $0.type.domain == .token }) { addStarts() }
    for index in graph.nodes.indices where !isDone[index] {
      isDone[index] = true
      try graph.nodes[index].operation.lower(index, into: &self)
    }
    for buffer in keptBuffers { buffers[buffer].lastStep = steps.count }
    // Inputs stay readable, and outputs stay valid, until the next run.
    for value in graph.values.indices where bound.contains(value) || isOutput[value] {
      if let buffer = bufferOfValue[value] { buffers[buffer].lastStep = steps.count }
    }
  }

  /// Bytes that a node's steps, their parameters and offsets take at most, and as many for the plan itself.
  private static let stepBytesMax = 4 << 10

  /// Packed weights and tables are bounded before the first is allocated: many layers may name one tensor, and a
  /// column alone is packed as sixteen.
  private func reserveMemory() throws(PlanError) {
    var total = 0
    var weights = 0
    for (index, node) in graph.nodes.enumerated() where !isDone[index] {
      // At most 4,096 nodes of less than 2⁴³ bytes each: the sum fits.
      let context = graph.context(of: index)
      let bytes = node.operation.packedBytes(context)
      total += bytes
      if node.operation.product(context) != nil { weights += bytes }
      guard total <= Limits.planBytesMax else {
        throw PlanError(
          node: node.name,
          "node \(node.name.quotedForMessage): packed weights and tables up to here: expected at most \(Limits.planBytesMax) bytes, found \(total)"
        )
      }
    }
    storage.reserve(most: total + Self.stepBytesMax * (graph.nodes.count + 1), certain: weights)
  }

  // MARK: - for operations: what surrounds a node

  /// The needed nodes that read a value.
  func readers(of value: Int) -> [Int] { readersOfValue[value] }

  /// The node that reads a value which nothing else needs.
  func onlyReader(of value: Int) -> Int? {
    !isOutput[value] && readersOfValue[value].count == 1 ? readersOfValue[value][0] : nil
  }

  func isNonnegative(_ value: Int) -> Bool { nonnegative.contains(value) }

  // MARK: - for operations: steps and buffers

  /// A step for a node. A value that it reads has been written; one that it writes gets its buffer.
  ///
  /// - Parameters:
  ///   - run: the kernel for ``isa``.
  ///   - parameters: the kernel's own struct; the plan keeps a copy.
  ///   - input: values read. Their buffers come first in the step's list, then those of the values written.
  mutating func step<Parameters: BitwiseCopyable>(
    _ node: Int, _ run: nt_step_function?, _ parameters: Parameters, reading inputs: [Int],
    writing outputs: [Int], words: String, kernel: String
  ) throws(PlanError) -> Step {
    guard let run else { preconditionFailure("instruction set \(isa) has no kernel \(kernel)") }
    let name = graph.nodes[node].name
    let type = graph.values[graph.nodes[node].inputs[0]].type
    var step = Step(
      run: run, parameters: UnsafeRawPointer(try storage.copy([parameters], for: name)), buffers: [],
      written: 0, domain: type.domain, node: name, words: words, kernel: kernel, inputColumns: type.columns,
      outputColumns: outputs.first.map { graph.values[$0].columns } ?? 0)
    for value in inputs {
      guard let buffer = bufferOfValue[value] else {
        preconditionFailure("value \(value) is read before it is written")
      }
      step.buffers.append(buffer)
    }
    for value in outputs {
      buffers.append(buffer(for: value, firstStep: steps.count))
      bufferOfValue[value] = buffers.count - 1
      step.written = buffers.count - 1
      step.buffers.append(step.written)
    }
    return step
  }

  /// Adds a step, which keeps its buffers alive.
  mutating func add(_ step: Step) {
    for buffer in step.buffers { buffers[buffer].lastStep = steps.count }
    steps.append(step)
  }

  /// Scratch of the next step, beside the values.
  mutating func addBuffer(bytesPerItem: Int, per domain: ValueType.Domain) -> Int {
    buffers.append(
      Buffer(bytesPerItem: bytesPerItem, domain: domain, firstStep: steps.count, lastStep: steps.count))
    return buffers.count - 1
  }

  /// Scratch of the next step that does not grow with its items.
  mutating func addBuffer(bytes: Int, per domain: ValueType.Domain) -> Int {
    buffers.append(
      Buffer(bytesPerItem: 0, bytesOnce: bytes, domain: domain, firstStep: steps.count, lastStep: steps.count))
    return buffers.count - 1
  }

  /// Scratch that no other shares, of a size that does not depend on the run.
  mutating func addKeptBuffer(bytes: Int) -> Int {
    buffers.append(Buffer(bytesPerItem: 0, bytesOnce: bytes, domain: .row, firstStep: -1, lastStep: -1))
    keptBuffers.append(buffers.count - 1)
    return buffers.count - 1
  }

  private mutating func addStarts() {
    startsBuffer = addKeptBuffer(bytes: MemoryLayout<UInt32>.size * (options.extentMax.rows + 1))
  }

  /// One status for each row, which stays until the next run.
  mutating func addStatuses() -> Int {
    let buffer = addKeptBuffer(bytes: MemoryLayout<UInt32>.size * options.extentMax.rows)
    statusesBuffer = buffer
    return buffer
  }

  /// Makes two values one: the same bytes under another shape.
  mutating func alias(_ value: Int, of other: Int) {
    bufferOfValue[value] = bufferOfValue[other]
    if nonnegative.contains(other) { nonnegative.insert(value) }
  }

  /// Adds the one step of a node that makes each row of its output from the same row of its input.
  ///
  /// - Parameter isNonnegative: whether all numbers of the output are zero or more.
  mutating func addRowStep(
    _ node: Int, _ kernels: (nt_isa) -> nt_step_function?, words: String, kernel: String, isNonnegative: Bool = true
  ) throws(PlanError) {
    let (input, output) = (graph.nodes[node].inputs[0], graph.nodes[node].outputs[0])
    let rows = nt_rows(columns: UInt32(graph.values[input].columns))
    add(
      try step(
        node, kernels(isa.kernelSet), rows, reading: [input], writing: [output], words: words, kernel: kernel))
    if isNonnegative { markNonnegative(output) }
  }

  /// The node runs as part of a step that is being built.
  mutating func fuse(_ node: Int) { isDone[node] = true }

  mutating func markNonnegative(_ value: Int) { nonnegative.insert(value) }

  mutating func countProduct(isInt8: Bool) {
    if isInt8 { int8ProductCount += 1 } else { floatProductCount += 1 }
  }

  private func buffer(for value: Int, firstStep: Int) -> Buffer {
    let type = graph.values[value].type
    return Buffer(bytesPerItem: type.itemBytes, domain: type.domain, firstStep: firstStep, lastStep: firstStep)
  }
}

extension ValueType.Domain {
  /// Items of a value in a run.
  func items(of extent: BatchExtent) -> Int { self == .token ? extent.units : extent.rows }

  var count: nt_count { self == .token ? NT_COUNT_UNITS : NT_COUNT_ROWS }
}
