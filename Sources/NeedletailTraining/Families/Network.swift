internal import CNeedletailTraining
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Parameters, gradients and scratch of a perceptron while it learns. Only the thread that trains may use it.
///
/// Rows of all matrices have a stride of ``padded(_:)``; what stands behind their columns is 0 and stays so.
final class Network {
  /// Shape of a network.
  struct Shape {
    /// Columns of numbers in a row.
    var numbers: Int
    /// Levels of each category, and the width that they are embedded in; 0 gives each level weights of the first layer.
    var categories: [(levels: Int, width: Int)] = []
    /// Units of each hidden layer.
    var hidden: [Int]
    /// Columns of the answer.
    var outputs: Int
    var activation: Dense.Activation
    var hasNorm = false
    var isRegression: Bool
  }

  struct Layer {
    let inputs: Int
    let outputs: Int
    /// Outputs with the padding behind them.
    let stride: Int
    /// Offset of the weights [inputs, stride] in `parameters` and `gradient`. In the first layer rows of categories that
    /// are not embedded stand behind those of the inputs.
    let weights: Int
    /// Offset of the bias [stride], likewise.
    let bias: Int
    /// Batch normalisation before the activation; nil: none.
    let norm: Norm?
    let activation: Dense.Activation
  }

  /// Offsets of one layer's batch normalisation, [stride] each.
  struct Norm {
    let scale: Int
    let shift: Int
    let mean: Int
    let variance: Int
  }

  /// A category: a table of its own, or rows among the weights of the first layer.
  struct Category {
    let levels: Int
    /// Columns of the first layer's input that the table fills; nil: the offset leads to weights of the first layer.
    let inputs: Range<Int>?
    /// Offset of the first level's row in `parameters`.
    let offset: Int
    /// Distance between rows.
    let stride: Int
  }

  let shape: Shape
  let layers: [Layer]
  let categories: [Category]
  let isRegression: Bool
  let batchRowsMax: Int
  let parameters: FloatBuffer
  let gradient: FloatBuffer
  /// Parameters that weight decay acts on, which stand first, and all that learn: behind them are running figures.
  let (decayingCount, learningCount): (Int, Int)
  let kernels: UnsafePointer<nt_net_kernels>
  private let threads: Int
  // Row-major [batchRowsMax, stride], one a layer; the first of `activated` and of `deltas` belongs to the batch.
  /// The batch itself, then the outputs of each layer's activation.
  let activated: [FloatBuffer]
  /// Inputs of each layer's activation: x · W + b, normalised where there is batch normalisation.
  let sums: [FloatBuffer]
  /// The normalised sums before scale and shift.
  let normals: [FloatBuffer]
  let inverses: [FloatBuffer]
  /// Factors of dropout: 0 for a unit that is off, else 1 / (1 − share), which keeps the mean.
  let masks: [FloatBuffer]
  /// Derivatives of the loss by what `activated` holds.
  let deltas: [FloatBuffer]
  /// Weights of one layer as [outputs, inputs].
  let transposed: FloatBuffer
  /// Codes of the batch, [batchRowsMax, categories].
  let codes: UnsafeMutablePointer<Int32>

  /// Multiply-adds of a product from which waking another thread costs less than it saves.
  private static let sharedProductMin = 1 << 21

  static func padded(_ columns: Int) -> Int {
    (columns + Int(NT_NET_LANES) - 1) / Int(NT_NET_LANES) * Int(NT_NET_LANES)
  }

  /// - Parameters:
  ///   - batchRowsMax: rows that ``forward(rows:isTraining:dropout:random:)`` may get.
  ///   - threads: those that multiply large matrices.
  init(_ shape: Shape, batchRowsMax: Int, threads: Int = 1) {
    self.shape = shape
    isRegression = shape.isRegression
    self.batchRowsMax = batchRowsMax
    self.threads = threads
    kernels = nt_net_kernels_best()
    let inputs = shape.numbers + shape.categories.reduce(0) { $0 + $1.width }
    let sizes = [inputs] + shape.hidden + [shape.outputs]
    let direct = shape.categories.reduce(0) { $0 + ($1.width == 0 ? $1.levels : 0) }
    var offset = 0
    func place(_ count: Int) -> Int {
      defer { offset += count }
      return offset
    }
    let weights = (1..<sizes.count).map { index in
      place((sizes[index - 1] + (index == 1 ? direct : 0)) * Self.padded(sizes[index]))
    }
    var categories: [Category] = []
    var (column, level) = (shape.numbers, inputs)
    for (levels, width) in shape.categories {
      let stride = Self.padded(width > 0 ? width : sizes[1])
      let own = width > 0 ? place(levels * stride) : weights[0] + level * stride
      categories.append(
        Category(levels: levels, inputs: width > 0 ? column..<(column + width) : nil, offset: own, stride: stride))
      (column, level) = (column + width, level + (width > 0 ? 0 : levels))
    }
    decayingCount = offset
    let biases = (1..<sizes.count).map { place(Self.padded(sizes[$0])) }
    let hasNorm = { (index: Int) in shape.hasNorm && index < sizes.count - 1 }
    let scales = (1..<sizes.count).map { hasNorm($0) ? place(2 * Self.padded(sizes[$0])) : 0 }
    learningCount = offset
    let running = (1..<sizes.count).map { hasNorm($0) ? place(2 * Self.padded(sizes[$0])) : 0 }
    layers = (1..<sizes.count).map { index in
      let stride = Self.padded(sizes[index])
      let (scale, mean) = (scales[index - 1], running[index - 1])
      return Layer(
        inputs: sizes[index - 1], outputs: sizes[index], stride: stride, weights: weights[index - 1],
        bias: biases[index - 1],
        norm: hasNorm(index) ? Norm(scale: scale, shift: scale + stride, mean: mean, variance: mean + stride) : nil,
        activation: index == sizes.count - 1 ? .identity : shape.activation)
    }
    self.categories = categories
    parameters = FloatBuffer(count: offset)
    gradient = FloatBuffer(count: offset)
    activated = sizes.map { FloatBuffer(count: Self.padded($0) * batchRowsMax) }
    deltas = sizes.map { FloatBuffer(count: Self.padded($0) * batchRowsMax) }
    func scratch(_ isNeeded: Bool = true) -> [FloatBuffer] {
      sizes.dropFirst().map { FloatBuffer(count: isNeeded ? Self.padded($0) * batchRowsMax : 0) }
    }
    sums = scratch()
    normals = scratch(shape.hasNorm)
    masks = scratch()
    inverses = sizes.dropFirst().map { FloatBuffer(count: Self.padded($0)) }
    transposed = FloatBuffer(count: zip(sizes, sizes.dropFirst()).map { Self.padded($0) * Self.padded($1) }.max() ?? 0)
    codes = .allocate(capacity: max(batchRowsMax * categories.count, 1))
    codes.initialize(repeating: -1, count: max(batchRowsMax * categories.count, 1))
    for layer in layers {
      guard let norm = layer.norm else { continue }
      for column in 0..<layer.outputs {
        parameters.start[norm.scale + column] = 1
        parameters.start[norm.variance + column] = 1
      }
    }
  }

  deinit { codes.deallocate() }

  /// Place for the numbers of the batch, written before ``forward(rows:isTraining:dropout:random:)``.
  var input: UnsafeMutablePointer<Float> { activated[0].start }
  var inputStride: Int { Self.padded(layers[0].inputs) }
  /// Raw outputs of the last ``forward(rows:isTraining:dropout:random:)``.
  var output: UnsafePointer<Float> { UnsafePointer(activated[layers.count].start) }
  var outputColumns: Int { shape.outputs }

  /// Draws the weights: after He (2015) for relu and gelu, after Glorot (2010) for the others, embeddings from the
  /// standard normal distribution. Biases start at 0.
  ///
  /// - Parameters:
  ///   - idleInputs: columns of numbers that are 0 in every training row. No gradient ever reaches their weights, so they
  ///     start, and stay, at 0: an untrained weight must not act on a value that shows up later.
  ///   - idleLevels: for each category the levels without training rows, likewise.
  func initialise(_ random: inout RandomSource, idleInputs: [Int] = [], idleLevels: [[Int]] = []) {
    let start = parameters.start
    let direct = categories.filter { $0.inputs == nil }
    for (index, layer) in layers.enumerated() {
      let isRectified = layer.activation == .relu || layer.activation == .gelu
      let inputs = layer.inputs + (index == 0 ? direct.reduce(0) { $0 + $1.levels } : 0)
      // One level of a category is there in a row.
      let present = layer.inputs + (index == 0 ? direct.count : 0)
      let fan = isRectified ? Double(present) : Double(present + layer.outputs) / 2
      let deviation = ((isRectified ? 2 : 1) / max(fan, 1)).squareRoot()
      for output in 0..<layer.outputs {
        for input in 0..<inputs {
          start[layer.weights + input * layer.stride + output] = Float(random.normal() * deviation)
        }
      }
    }
    for category in categories {
      guard let inputs = category.inputs else { continue }
      for level in 0..<category.levels {
        for column in 0..<inputs.count {
          start[category.offset + level * category.stride + column] = Float(random.normal())
        }
      }
    }
    for column in idleInputs {
      (start + layers[0].weights + column * layers[0].stride).update(repeating: 0, count: layers[0].stride)
    }
    for (category, levels) in zip(categories, idleLevels) {
      for level in levels {
        (start + category.offset + level * category.stride).update(repeating: 0, count: category.stride)
      }
    }
  }

  // MARK: - forward

  /// Runs the batch through all layers.
  ///
  /// - Parameters:
  ///   - rows: rows of the batch.
  ///   - isTraining: whether batch normalisation takes the figures of the batch, and moves the running ones.
  ///   - dropout: share of hidden units that are switched off.
  ///   - random: nil switches nothing off, as for validation.
  func forward(rows: Int, isTraining: Bool = false, dropout: Float = 0, random: inout RandomSource?) {
    precondition(rows <= batchRowsMax)
    lookUpEmbeddings(rows)
    for (index, layer) in layers.enumerated() {
      let sum = sums[index].start
      let before = Self.padded(layer.inputs)
      multiply(
        nt_net_product(
          a: activated[index].start, a_row: before, a_depth: 1, b: parameters.start + layer.weights,
          b_stride: layer.stride, c: sum, c_stride: layer.stride, initial: parameters.start + layer.bias, rows: rows,
          columns: layer.stride, depth: layer.inputs))
      if index == 0 { addDirectCategories(rows, sum) }
      if let norm = layer.norm {
        var job = self.job(norm, index, rows)
        if isTraining { kernels.pointee.norm(&job) } else { kernels.pointee.norm_running(&job) }
      }
      let result = activated[index + 1].start
      kernels.pointee.activate(UInt32(layer.activation.rawValue), sum, result, rows * layer.stride)
      // The logistic function of the padding is a half.
      if layer.activation == .logistic { clearPadding(result, rows: rows, layer) }
      if dropout > 0, index < layers.count - 1, random != nil {
        drop(dropout, mask: masks[index].start, count: rows * layer.stride, &random)
        kernels.pointee.multiply_elements(result, masks[index].start, rows * layer.stride)
      }
    }
  }

  private func clearPadding(_ values: UnsafeMutablePointer<Float>, rows: Int, _ layer: Layer) {
    guard layer.stride > layer.outputs else { return }
    for row in 0..<rows {
      (values + row * layer.stride + layer.outputs).update(repeating: 0, count: layer.stride - layer.outputs)
    }
  }

  private func lookUpEmbeddings(_ rows: Int) {
    for (index, category) in categories.enumerated() {
      guard let inputs = category.inputs else { continue }
      for row in 0..<rows {
        let destination = input + row * inputStride + inputs.lowerBound
        let code = Int(codes[row * categories.count + index])
        if code >= 0 {
          destination.update(from: parameters.start + category.offset + code * category.stride, count: inputs.count)
        } else {
          destination.update(repeating: 0, count: inputs.count)
        }
      }
    }
  }

  private func addDirectCategories(_ rows: Int, _ sums: UnsafeMutablePointer<Float>) {
    let stride = layers[0].stride
    for (index, category) in categories.enumerated() where category.inputs == nil {
      for row in 0..<rows {
        let code = Int(codes[row * categories.count + index])
        guard code >= 0 else { continue }
        let source = parameters.start + category.offset + code * stride
        let sum = sums + row * stride
        for column in 0..<stride { sum[column] += source[column] }
      }
    }
  }

  func job(_ norm: Norm, _ index: Int, _ rows: Int) -> nt_net_norm {
    let start = parameters.start
    return nt_net_norm(
      rows: rows, stride: layers[index].stride, sums: sums[index].start, normal: normals[index].start,
      scale: start + norm.scale, shift: start + norm.shift, inverse: inverses[index].start,
      running_mean: start + norm.mean, running_variance: start + norm.variance)
  }

  /// Draws the factors of inverted dropout: units that stay are scaled up, so that serving needs no change.
  private func drop(
    _ share: Float, mask: UnsafeMutablePointer<Float>, count: Int, _ random: inout RandomSource?
  ) {
    guard var source = random else { return }
    let kept = 1 / (1 - share)
    for i in 0..<count { mask[i] = source.uniform() < share ? 0 : kept }
    random = source
  }

  /// A product, its rows shared among threads where it is large. The bits do not depend on their number.
  func multiply(_ product: nt_net_product) {
    guard threads > 1, product.rows * product.columns * product.depth >= Self.sharedProductMin else {
      withUnsafePointer(to: product) { kernels.pointee.multiply($0) }
      return
    }
    let job = SharedProduct(product: product, kernels: kernels, parts: threads)
    withUnsafePointer(to: job) { job in
      nt_boost_run(
        { context, part in
          guard let job = context?.assumingMemoryBound(to: SharedProduct.self).pointee else { return }
          var own = job.product
          // Whole tiles of eight rows.
          let rows = (own.rows + job.parts * 8 - 1) / (job.parts * 8) * 8
          let first = min(part * rows, own.rows)
          own.rows = min(rows, own.rows - first)
          own.a = own.a.advanced(by: first * own.a_row)
          own.c = own.c.advanced(by: first * own.c_stride)
          job.kernels.pointee.multiply(&own)
        }, job, threads, threads)
    }
  }

  private struct SharedProduct {
    var product: nt_net_product
    var kernels: UnsafePointer<nt_net_kernels>
    var parts: Int
  }
}

/// Floats at a fixed address of 64 bytes, used by one thread. Kernels and the loops around them take pointers, and nothing
/// is allocated while an epoch runs.
final class FloatBuffer {
  let start: UnsafeMutablePointer<Float>
  let count: Int

  init(count: Int) {
    self.count = count
    let bytes = max(count, 1) * MemoryLayout<Float>.stride
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    start = memory.initializeMemory(as: Float.self, repeating: 0, count: max(count, 1))
  }

  deinit { start.deallocate() }

  func copy(from other: FloatBuffer) {
    precondition(count == other.count)
    start.update(from: other.start, count: count)
  }
}
