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

  /// Takes one step with all parameters of a network. Biases do not decay.
  mutating func update(_ network: Network, learningRate: Float) {
    step += 1
    for layer in network.layers {
      let weightCount = layer.inputs * layer.outputs
      update(network, at: layer.weights, count: weightCount, learningRate: learningRate, decay: weightDecay)
      update(network, at: layer.bias, count: layer.outputs, learningRate: learningRate, decay: 0)
    }
  }

  private func update(_ network: Network, at offset: Int, count: Int, learningRate: Float, decay: Float) {
    let parameters = network.parameters.start + offset
    let gradient = network.gradient.start + offset
    let first = first.start + offset
    switch rule {
    case .sgd:
      for i in 0..<count {
        first[i] = momentum * first[i] + gradient[i] + decay * parameters[i]
        parameters[i] -= learningRate * first[i]
      }
    case .adam, .adamw:
      let second = second.start + offset
      let beta1: Float = 0.9
      let beta2: Float = 0.999
      let correction1 = Float(1 - pow(0.9, Double(step)))
      let correction2 = Float((1 - pow(0.999, Double(step))).squareRoot())
      let rate = learningRate / correction1
      let coupled = rule == .adam ? decay : 0
      let shrink = rule == .adamw ? 1 - learningRate * decay : 1
      for i in 0..<count {
        let g = gradient[i] + coupled * parameters[i]
        first[i] = beta1 * first[i] + (1 - beta1) * g
        second[i] = beta2 * second[i] + (1 - beta2) * g * g
        parameters[i] = shrink * parameters[i] - rate * first[i] / (second[i].squareRoot() / correction2 + 1e-8)
      }
    }
  }
}
