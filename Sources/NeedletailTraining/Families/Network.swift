internal import COpenBLAS
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Parameters, gradients and scratch of a perceptron while it learns. Only the thread that trains may use it.
final class Network {
  struct Layer {
    let inputs: Int
    let outputs: Int
    /// Offset of the weights [outputs, inputs] in `parameters` and `gradient`.
    let weights: Int
    /// Offset of the bias [outputs], likewise.
    let bias: Int
    let activation: Dense.Activation
  }

  let layers: [Layer]
  let isRegression: Bool
  let batchRowsMax: Int
  let parameters: FloatBuffer
  let gradient: FloatBuffer
  // Row-major [batchRowsMax, columns], one a layer; the first of `activated` and of `deltas` belongs to the batch.
  /// The batch itself, then the outputs of each layer's activation.
  private var activated: [FloatBuffer]
  /// Inputs of each layer's activation: x · Wᵀ + b.
  private var sums: [FloatBuffer]
  /// Factors of dropout: 0 for a unit that is off, else 1 / (1 − share), which keeps the mean.
  private var masks: [FloatBuffer]
  /// Derivatives of the loss by what `activated` holds.
  private var deltas: [FloatBuffer]

  /// - Parameters:
  ///   - sizes: columns of the batch, of each hidden layer, and of the output.
  ///   - activation: after each hidden layer; the output has none.
  ///   - batchRowsMax: rows that ``forward(rows:dropout:random:)`` may get.
  init(sizes: [Int], activation: Dense.Activation, isRegression: Bool, batchRowsMax: Int) {
    var offset = 0
    var layers: [Layer] = []
    for index in 1..<sizes.count {
      let weights = offset
      let bias = weights + sizes[index - 1] * sizes[index]
      offset = bias + sizes[index]
      layers.append(
        Layer(
          inputs: sizes[index - 1], outputs: sizes[index], weights: weights, bias: bias,
          activation: index == sizes.count - 1 ? .identity : activation))
    }
    self.layers = layers
    self.isRegression = isRegression
    self.batchRowsMax = batchRowsMax
    parameters = FloatBuffer(count: offset)
    gradient = FloatBuffer(count: offset)
    activated = sizes.map { FloatBuffer(count: $0 * batchRowsMax) }
    sums = layers.map { FloatBuffer(count: $0.outputs * batchRowsMax) }
    masks = layers.map { FloatBuffer(count: $0.outputs * batchRowsMax) }
    deltas = sizes.map { FloatBuffer(count: $0 * batchRowsMax) }
  }

  /// Place for the batch, written before ``forward(rows:dropout:random:)``.
  var input: UnsafeMutablePointer<Float> { activated[0].start }
  /// Raw outputs of the last ``forward(rows:dropout:random:)``.
  var output: UnsafePointer<Float> { UnsafePointer(activated[layers.count].start) }
  var outputColumns: Int { layers[layers.count - 1].outputs }

  /// Draws the weights: after He (2015) for relu and gelu, after Glorot (2010) for the others. Biases start at 0.
  ///
  /// - Parameter idleInputs: columns that are 0 in every training row. No gradient ever reaches their weights,
  ///   so they start, and stay, at 0: an untrained weight must not act on a value that shows up later.
  func initialise(_ random: inout RandomSource, idleInputs: [Int] = []) {
    for layer in layers {
      let isRectified = layer.activation == .relu || layer.activation == .gelu
      let fan = isRectified ? Double(layer.inputs) : Double(layer.inputs + layer.outputs) / 2
      let deviation = ((isRectified ? 2 : 1) / fan).squareRoot()
      for index in 0..<(layer.inputs * layer.outputs) {
        parameters.start[layer.weights + index] = Float(random.normal() * deviation)
      }
      for index in 0..<layer.outputs { parameters.start[layer.bias + index] = 0 }
    }
    for row in 0..<layers[0].outputs {
      for column in idleInputs { parameters.start[layers[0].weights + row * layers[0].inputs + column] = 0 }
    }
  }

  /// Runs the batch through all layers.
  ///
  /// - Parameters:
  ///   - rows: rows of the batch.
  ///   - dropout: share of hidden units that are switched off.
  ///   - random: nil switches nothing off, as for validation.
  func forward(rows: Int, dropout: Float = 0, random: inout RandomSource?) {
    precondition(rows <= batchRowsMax)
    for (index, layer) in layers.enumerated() {
      let sum = sums[index].start
      let bias = parameters.start + layer.bias
      for row in 0..<rows { (sum + row * layer.outputs).update(from: bias, count: layer.outputs) }
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows), Int32(layer.outputs), Int32(layer.inputs), 1,
        activated[index].start, Int32(layer.inputs), parameters.start + layer.weights, Int32(layer.inputs), 1, sum,
        Int32(layer.outputs))
      let result = activated[index + 1].start
      Activations.forward(layer.activation, sum, result, rows * layer.outputs)
      if dropout > 0, index < layers.count - 1 {
        drop(dropout, result, mask: masks[index].start, count: rows * layer.outputs, &random)
      }
    }
  }

  /// Inverted dropout: units that stay are scaled up, so that serving needs no change.
  private func drop(
    _ share: Float, _ values: UnsafeMutablePointer<Float>, mask: UnsafeMutablePointer<Float>, count: Int,
    _ random: inout RandomSource?
  ) {
    guard random != nil else { return }
    let kept = 1 / (1 - share)
    for i in 0..<count {
      mask[i] = (random?.uniform() ?? 1) < share ? 0 : kept
      values[i] *= mask[i]
    }
  }

  /// Loss of the rows just run: cross-entropy of softmax for classes, squared error for a number. The derivative of
  /// the sum divided by the rows, by the outputs, is kept for ``backward(rows:dropout:)``.
  ///
  /// - Parameters:
  ///   - targets: class indices, or numbers; one a row.
  ///   - weights: one a row, by which it counts in the loss.
  /// - Returns: the sum over the rows, and how many classes were right.
  func loss(
    targets: UnsafePointer<Double>, weights: UnsafePointer<Float>, rows: Int
  ) -> (sum: Double, correct: Int) {
    let columns = outputColumns
    let delta = deltas[layers.count].start
    var sum = 0.0
    var correct = 0
    for row in 0..<rows {
      let z = output + row * columns
      let d = delta + row * columns
      let weight = weights[row]
      let share = weight / Float(rows)
      if isRegression {
        let error = Double(z[0]) - targets[row]
        sum += Double(weight) * error * error
        d[0] = Float(2 * error) * share
        continue
      }
      var best = 0
      for column in 1..<columns where z[column] > z[best] { best = column }
      let truth = Int(targets[row])
      var total: Float = 0
      for column in 0..<columns {
        d[column] = expf(z[column] - z[best])
        total += d[column]
      }
      for column in 0..<columns { d[column] *= share / total }
      d[truth] -= share
      sum += Double(weight * (logf(total) + z[best] - z[truth]))
      if best == truth { correct += 1 }
    }
    return (sum, correct)
  }

  /// Fills `gradient` with the derivative of the loss just taken.
  func backward(rows: Int, dropout: Float) {
    for index in layers.indices.reversed() {
      let layer = layers[index]
      let delta = deltas[index + 1].start
      if index < layers.count - 1 {
        if dropout > 0 {
          let mask = masks[index].start
          for i in 0..<(rows * layer.outputs) { delta[i] *= mask[i] }
        }
        // Dropout has scaled `activated`, and the derivative needs the unscaled value. Those of relu and gelu use
        // the sum only.
        if dropout > 0, layer.activation == .tanh || layer.activation == .logistic {
          Activations.forward(layer.activation, sums[index].start, activated[index + 1].start, rows * layer.outputs)
        }
        Activations.backward(
          layer.activation, sums[index].start, activated[index + 1].start, delta, rows * layer.outputs)
      }
      cblas_sgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, Int32(layer.outputs), Int32(layer.inputs), Int32(rows), 1, delta,
        Int32(layer.outputs), activated[index].start, Int32(layer.inputs), 0, gradient.start + layer.weights,
        Int32(layer.inputs))
      let bias = gradient.start + layer.bias
      bias.update(repeating: 0, count: layer.outputs)
      for row in 0..<rows {
        for column in 0..<layer.outputs { bias[column] += delta[row * layer.outputs + column] }
      }
      if index > 0 {
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(rows), Int32(layer.inputs), Int32(layer.outputs), 1, delta,
          Int32(layer.outputs), parameters.start + layer.weights, Int32(layer.inputs), 0, deltas[index].start,
          Int32(layer.inputs))
      }
    }
  }

  /// The layers as the graph wants them, with the target scale folded into the last.
  func exportLayers(scale: TargetScale) -> [(weights: Matrix, bias: [Float])] {
    layers.enumerated().map { index, layer in
      var weights = (0..<(layer.inputs * layer.outputs)).map { parameters.start[layer.weights + $0] }
      var bias = (0..<layer.outputs).map { parameters.start[layer.bias + $0] }
      if isRegression, index == layers.count - 1 {
        weights = weights.map { Float(Double($0) * scale.scale) }
        bias = bias.map { Float(Double($0) * scale.scale + scale.offset) }
      }
      return (Matrix(rows: layer.outputs, columns: layer.inputs, elements: weights), bias)
    }
  }
}

/// Formulas of the engine's activations, and their derivatives.
enum Activations {
  /// Writes y = f(x), element by element.
  static func forward(
    _ activation: Dense.Activation, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ count: Int
  ) {
    switch activation {
    case .identity: y.update(from: x, count: count)
    case .relu: for i in 0..<count { y[i] = x[i] > 0 ? x[i] : 0 }
    case .tanh: for i in 0..<count { y[i] = tanhf(x[i]) }
    case .logistic: for i in 0..<count { y[i] = 1 / (1 + expf(-x[i])) }
    case .gelu: for i in 0..<count { y[i] = 0.5 * x[i] * (1 + erff(x[i] * 0.707_106_77)) }
    }
  }

  /// Multiplies the gradient by f′(x), where y = f(x).
  static func backward(
    _ activation: Dense.Activation, _ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>,
    _ gradient: UnsafeMutablePointer<Float>, _ count: Int
  ) {
    switch activation {
    case .identity: break
    case .relu: for i in 0..<count { gradient[i] = x[i] > 0 ? gradient[i] : 0 }
    case .tanh: for i in 0..<count { gradient[i] *= 1 - y[i] * y[i] }
    case .logistic: for i in 0..<count { gradient[i] *= y[i] * (1 - y[i]) }
    case .gelu:
      // The derivative of x · Φ(x) is Φ(x) + x · φ(x).
      for i in 0..<count {
        let cumulative = 0.5 * (1 + erff(x[i] * 0.707_106_77))
        let density = 0.398_942_28 * expf(-0.5 * x[i] * x[i])
        gradient[i] *= cumulative + x[i] * density
      }
    }
  }
}

/// Floats at a fixed address, used by one thread. BLAS and the loops around it take pointers, and nothing is allocated
/// while an epoch runs.
final class FloatBuffer {
  let start: UnsafeMutablePointer<Float>
  let count: Int

  init(count: Int) {
    self.count = count
    start = .allocate(capacity: max(count, 1))
    start.initialize(repeating: 0, count: max(count, 1))
  }

  deinit { start.deallocate() }

  func copy(from other: FloatBuffer) {
    precondition(count == other.count)
    start.update(from: other.start, count: count)
  }

  func fill(_ value: Float) { start.update(repeating: value, count: count) }
}
