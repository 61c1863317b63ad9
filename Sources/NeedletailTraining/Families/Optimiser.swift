internal import CNeedletailTraining
internal import Glibc

/// Turns gradients into steps. It keeps one or two numbers for every parameter.
struct Optimiser {
  enum Rule: String {
    /// Adam (Kingma and Ba, 2015). Weight decay adds to the gradient.
    case adam
    /// AdamW (Loshchilov and Hutter, 2019). Weight decay acts on the weights themselves.
    case adamw
    /// Stochastic gradient descent with heavy-ball momentum.
    case sgd
  }

  let rule: Rule
  let momentum: Float
  let weightDecay: Float
  /// Momentum of every parameter.
  private let first: FloatBuffer
  /// Mean square of every gradient; empty for sgd.
  private let second: FloatBuffer
  private var step = 0

  /// - Parameter parameterCount: those that learn.
  init(rule: Rule, momentum: Float, weightDecay: Float, parameterCount: Int) {
    self.rule = rule
    self.momentum = momentum
    self.weightDecay = weightDecay
    first = FloatBuffer(count: parameterCount)
    second = FloatBuffer(count: rule == .sgd ? 0 : parameterCount)
  }

  func write(_ writer: inout ByteWriter) {
    writer.add(UInt64(step))
    writer.add(first)
    writer.add(second)
  }

  mutating func read(_ reader: inout ByteReader) -> Bool {
    guard let step = reader.count(), reader.fill(first), reader.fill(second) else { return false }
    self.step = step
    return true
  }

  /// Takes one step with all parameters of a network that learn. Biases, and scales and shifts of batch normalisation, do
  /// not decay.
  mutating func update(_ network: Network, learningRate: Float) {
    update(
      network.parameters, gradient: network.gradient, decaying: network.decayingCount, kernels: network.kernels,
      learningRate: learningRate)
  }

  /// Takes one step with the parameters that learn, which stand before all others.
  ///
  /// - Parameters:
  ///   - decaying: how many of them, from the first on, weight decay acts on.
  mutating func update(
    _ parameters: FloatBuffer, gradient: FloatBuffer, decaying: Int, kernels: UnsafePointer<nt_net_kernels>,
    learningRate: Float
  ) {
    step += 1
    for (range, decay) in [(0..<decaying, weightDecay), (decaying..<first.count, 0)] {
      update(parameters, gradient, range, kernels, learningRate: learningRate, decay: decay)
    }
  }

  private func update(
    _ parameters: FloatBuffer, _ gradient: FloatBuffer, _ range: Range<Int>, _ kernels: UnsafePointer<nt_net_kernels>,
    learningRate: Float, decay: Float
  ) {
    var job = nt_net_step(
      parameters: parameters.start + range.lowerBound, gradient: gradient.start + range.lowerBound,
      first: first.start + range.lowerBound, second: nil, count: range.count, rate: learningRate,
      coupled_decay: rule == .adamw ? 0 : decay, decay: rule == .adamw ? decay : 0, correction1: momentum,
      correction2: 0)
    guard rule != .sgd else {
      kernels.pointee.sgd(&job)
      return
    }
    job.second = second.start + range.lowerBound
    job.correction1 = Float(1 - pow(0.9, Double(step)))
    job.correction2 = Float((1 - pow(0.999, Double(step))).squareRoot())
    kernels.pointee.adam(&job)
  }
}
