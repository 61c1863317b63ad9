internal import CNeedletailKernels
internal import NeedletailCore

/// Lowers a validated graph to a flat list of steps: fuses what belongs together, packs weights for
/// the kernels, and says which buffer lives when.
struct PlanCompiler {
  /// Scratch that steps read and write; its place is planned once all steps are known.
  struct Buffer {
    var bytesPerRow: Int
    /// −1: there before the first step.
    var firstStep: Int
    var lastStep: Int
  }

  /// A step whose buffers have no offsets yet.
  struct Step {
    var kernel: nt_step
    var input: Int
    var output: Int
    var scales: Int?
    var magnitudes: Int?
    /// Name of the node at its head.
    var node: String
    /// For people.
    var operation: String
    var weightBytes = 0
  }

  private let graph: ModelGraph
  private let options: PlanOptions
  /// The family that will run the plan: it packs the weights in its own order.
  private let kernels: UnsafePointer<nt_kernel_table>
  private let storage: PlanStorage
  /// Per value: the needed nodes that read it, in order.
  private let readers: [[Int]]
  private let isOutput: [Bool]

  private(set) var steps: [Step] = []
  private(set) var buffers: [Buffer] = []
  /// Per value: the buffer that holds it, once some step writes it.
  private(set) var bufferOfValue: [Int?]
  private(set) var denseInt8Count = 0
  private(set) var denseFloatCount = 0
  /// Per value: its int8 rows and their scales, shared by all int8 layers that read it.
  private var quantised: [Int: (rows: Int, scales: Int)] = [:]
  /// Per value that an int8 layer reads: where the layer that writes it gathers the magnitudes of rows.
  private var magnitudes: [Int: Int] = [:]
  /// Per value: no element is below 0.
  private var isNonnegative: [Bool]
  /// Nodes that run as part of an earlier node's step.
  private var isFused: [Bool]

  /// - Parameter graph: validated.
  init(_ graph: ModelGraph, options: PlanOptions, kernels: UnsafePointer<nt_kernel_table>, storage: PlanStorage) {
    self.graph = graph
    self.options = options
    self.kernels = kernels
    self.storage = storage
    var isOutput = [Bool](repeating: false, count: graph.values.count)
    for output in graph.outputs { isOutput[output.value] = true }
    // Backwards: what no output depends on is not computed.
    var isNeeded = isOutput
    var readers = [[Int]](repeating: [], count: graph.values.count)
    for (index, node) in graph.nodes.enumerated().reversed() where isNeeded[node.output] {
      isNeeded[node.input] = true
      readers[node.input].insert(index, at: 0)
    }
    self.isOutput = isOutput
    self.readers = readers
    self.bufferOfValue = Array(repeating: nil, count: graph.values.count)
    self.isNonnegative = Array(repeating: false, count: graph.values.count)
    self.isFused = graph.nodes.map { !isNeeded[$0.output] }
  }

  mutating func compile() throws(PlanError) {
    try checkWeightBytes()
    bufferOfValue[0] = addBuffer(bytesPerRow: 4 * graph.values[0].columns, firstStep: -1)
    for index in graph.nodes.indices where !isFused[index] { try lower(index) }
    // Inputs stay readable, and outputs stay valid, until the next run.
    for value in graph.values.indices where value == 0 || isOutput[value] {
      if let buffer = bufferOfValue[value] { buffers[buffer].lastStep = steps.count }
    }
  }

  /// Packed weights are bounded before the first is allocated: many layers may name one tensor, and a
  /// column alone is packed as sixteen.
  private func checkWeightBytes() throws(PlanError) {
    var total = 0
    for (index, node) in graph.nodes.enumerated() where !isFused[index] {
      guard case .dense(let dense) = node.operation else { continue }
      let (columns, depth) = (graph.values[node.output].columns, graph.values[node.input].columns)
      // At most 4,096 nodes of less than 2⁴³ bytes each: the sum fits.
      if case .int8 = graph.tensors[dense.weights].storage {
        total += nt_s8_packed_bytes(columns, depth)
      } else {
        total += nt_f32_packed_bytes(columns, depth)
      }
      guard total <= Limits.planBytesMax else {
        throw PlanError(
          node: node.name,
          "node \(node.name.quotedForMessage): packed weights up to here: expected at most \(Limits.planBytesMax) bytes, found \(total)"
        )
      }
    }
  }

  // MARK: - lowering

  private mutating func lower(_ index: Int) throws(PlanError) {
    let node = graph.nodes[index]
    switch node.operation {
    case .impute, .affine, .oneHot: try lowerPreprocessing(from: index)
    case .dense(let dense): try lowerDense(index, dense)
    case .softmax: addRowStep(NT_STEP_SOFTMAX, node, "softmax")
    case .sigmoid: addRowStep(NT_STEP_LOGISTIC, node, "sigmoid")
    case .argMax: addRowStep(NT_STEP_ARGMAX, node, "argmax")
    }
  }

  /// An operation whose answers are never below 0.
  private mutating func addRowStep(_ kind: nt_step_kind, _ node: Node, _ operation: String) {
    addStep(kind, named: node.name, from: node.input, to: node.output, operation)
    isNonnegative[node.output] = true
  }

  /// Impute, affine and one-hot in this order, as far as each feeds only the next, make one step.
  private mutating func lowerPreprocessing(from first: Int) throws(PlanError) {
    var tables = PreprocessTables(columns: graph.values[graph.nodes[first].input].columns)
    var last = first
    tables.add(graph.nodes[first].operation)
    while let next = onlyReader(of: graph.nodes[last].output), tables.accepts(graph.nodes[next].operation) {
      tables.add(graph.nodes[next].operation)
      isFused[next] = true
      last = next
    }
    let name = graph.nodes[first].name
    let (input, output) = (graph.nodes[first].input, graph.nodes[last].output)
    var kernel = nt_step()
    kernel.preprocess = try tables.store(in: storage, node: name)
    addStep(NT_STEP_PREPROCESS, named: name, from: input, to: output, tables.summary, kernel: kernel)
  }

  private mutating func lowerDense(_ index: Int, _ dense: Dense) throws(PlanError) {
    let node = graph.nodes[index]
    var (output, activation) = (node.output, dense.activation)
    if activation == .identity, let next = onlyReader(of: output), graph.nodes[next].operation == .sigmoid {
      (output, activation) = (graph.nodes[next].output, .logistic)
      isFused[next] = true
    }
    var kernel = nt_step()
    kernel.activation = nt_activation(rawValue: UInt32(activation.rawValue))
    isNonnegative[output] = activation == .relu || activation == .logistic
    let bias = dense.bias.flatMap { graph.tensors[$0].floats }
    let (rows, columns) = (graph.values[output].columns, graph.values[node.input].columns)
    switch graph.tensors[dense.weights].storage {
    case .int8(let elements, let scales):
      denseInt8Count += 1
      let bytes = nt_s8_packed_bytes(rows, columns)
      let packed = try storage.allocate(bytes: bytes, for: node.name)
      kernels.pointee.s8_pack(elements, scales, bias, rows, columns, packed)
      kernel.weights = UnsafeRawPointer(packed)
      kernel.in_is_nonnegative = isNonnegative[node.input]
      let source = quantise(node.input, for: node.name)
      gatherMagnitudes(of: output)
      addStep(
        NT_STEP_DENSE_S8, named: node.name, from: node.input, to: output, "dense \(activation) int8", kernel: kernel,
        weightBytes: bytes, reading: source.rows, scales: source.scales)
    case .float32(let elements):
      denseFloatCount += 1
      let bytes = nt_f32_packed_bytes(rows, columns)
      let packed = try storage.allocate(bytes: bytes, for: node.name)
      nt_f32_pack(elements, bias, rows, columns, packed.assumingMemoryBound(to: Float.self))
      kernel.weights = UnsafeRawPointer(packed)
      if options.relaxed {
        kernel.plain_weights = try storage.copy(elements, for: node.name)
        if let bias { kernel.plain_bias = try storage.copy(bias, for: node.name) }
      } else {
        gatherMagnitudes(of: output)  // OpenBLAS would not
      }
      addStep(
        NT_STEP_DENSE_F32, named: node.name, from: node.input, to: output, "dense \(activation) fp32", kernel: kernel,
        weightBytes: bytes)
    }
  }

  /// Has the layer that is about to be added, which writes `value`, spare a following quantise its first
  /// pass.
  private mutating func gatherMagnitudes(of value: Int) {
    guard readers[value].contains(where: readsInt8) else { return }
    magnitudes[value] = addBuffer(bytesPerRow: 4, firstStep: steps.count)
  }

  private func readsInt8(_ node: Int) -> Bool {
    guard case .dense(let dense) = graph.nodes[node].operation else { return false }
    if case .int8 = graph.tensors[dense.weights].storage { return true }
    return false
  }

  /// The int8 rows of a value; quantised once, however many layers read them.
  private mutating func quantise(_ value: Int, for node: String) -> (rows: Int, scales: Int) {
    if let known = quantised[value] { return known }
    let columns = graph.values[value].columns
    let rows = addBuffer(bytesPerRow: nt_s8_row_stride(columns), firstStep: steps.count)
    let scales = addBuffer(bytesPerRow: 4, firstStep: steps.count)
    var kernel = nt_step()
    kernel.kind = NT_STEP_QUANTISE
    kernel.in_columns = UInt32(columns)
    kernel.out_columns = UInt32(columns)
    let known = magnitudes[value]
    append(
      Step(
        kernel: kernel, input: source(of: value), output: rows, scales: scales, magnitudes: known, node: node,
        operation: known == nil ? "quantise" : "quantise, largest known"))
    quantised[value] = (rows, scales)
    return (rows, scales)
  }

  // MARK: - steps and buffers

  private mutating func addStep(
    _ kind: nt_step_kind, named name: String, from input: Int, to output: Int, _ operation: String,
    kernel: nt_step = nt_step(), weightBytes: Int = 0, reading buffer: Int? = nil, scales: Int? = nil
  ) {
    var kernel = kernel
    kernel.kind = kind
    kernel.in_columns = UInt32(graph.values[input].columns)
    kernel.out_columns = UInt32(graph.values[output].columns)
    let target = addBuffer(bytesPerRow: 4 * graph.values[output].columns, firstStep: steps.count)
    bufferOfValue[output] = target
    append(
      Step(
        kernel: kernel, input: buffer ?? source(of: input), output: target, scales: scales,
        magnitudes: magnitudes[output], node: name, operation: operation, weightBytes: weightBytes))
  }

  private mutating func append(_ step: Step) {
    var step = step
    step.kernel.has_magnitudes = step.magnitudes != nil
    for buffer in [step.input, step.output, step.scales, step.magnitudes].compactMap({ $0 }) {
      buffers[buffer].lastStep = steps.count
    }
    steps.append(step)
  }

  private mutating func addBuffer(bytesPerRow: Int, firstStep: Int) -> Int {
    buffers.append(Buffer(bytesPerRow: bytesPerRow, firstStep: firstStep, lastStep: firstStep))
    return buffers.count - 1
  }

  private func source(of value: Int) -> Int {
    guard let buffer = bufferOfValue[value] else { preconditionFailure("value \(value) is read before it is written") }
    return buffer
  }

  /// The node that reads a value which nothing else needs.
  private func onlyReader(of value: Int) -> Int? {
    !isOutput[value] && readers[value].count == 1 ? readers[value][0] : nil
  }
}

extension WeightTensor {
  /// The elements of an fp32 tensor.
  fileprivate var floats: [Float]? {
    if case .float32(let elements) = storage { elements } else { nil }
  }
}
