import Foundation
import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

/// Holds the network's kernels to plain loops in double precision.
@Suite struct NetworkTests {
  /// The network's formulas, one number at a time, and its loss as a function of the parameters.
  private struct Reference {
    let network: Network
    let rows: Int
    let inputs: [[Double]]
    let codes: [[Int]]
    let targets: [Double]
    let weights: [Double]
    /// Factors of dropout by layer; none: no unit is off.
    var masks: [[Double]] = []

    static func activated(_ activation: Dense.Activation, _ x: Double) -> Double {
      switch activation {
      case .identity: x
      case .relu: max(x, 0)
      case .tanh: tanh(x)
      case .logistic: 1 / (1 + exp(-x))
      case .gelu: 0.5 * x * (1 + erf(x / 2.0.squareRoot()))
      }
    }

    func loss(_ p: [Double]) -> Double {
      var x = (0..<rows).map { row in
        network.categories.enumerated().reduce(inputs[row]) { x, pair in
          guard let columns = pair.element.inputs else { return x }
          let code = codes[row][pair.offset]
          return x
            + columns.indices.map { column in
              code < 0 ? 0 : p[pair.element.offset + code * pair.element.stride + column - columns.lowerBound]
            }
        }
      }
      for (index, layer) in network.layers.enumerated() {
        var sums = (0..<rows).map { row in
          (0..<layer.outputs).map { output -> Double in
            var sum = p[layer.bias + output]
            for input in 0..<layer.inputs { sum += x[row][input] * p[layer.weights + input * layer.stride + output] }
            guard index == 0 else { return sum }
            for (category, code) in zip(network.categories, codes[row]) where category.inputs == nil && code >= 0 {
              sum += p[category.offset + code * category.stride + output]
            }
            return sum
          }
        }
        if let norm = layer.norm {
          for output in 0..<layer.outputs {
            let mean = sums.reduce(0) { $0 + $1[output] } / Double(rows)
            let variance = sums.reduce(0) { $0 + ($1[output] - mean) * ($1[output] - mean) } / Double(rows)
            for row in 0..<rows {
              sums[row][output] =
                (sums[row][output] - mean) / (variance + 1e-5).squareRoot() * p[norm.scale + output]
                + p[norm.shift + output]
            }
          }
        }
        x = (0..<rows).map { row in
          (0..<layer.outputs).map { output in
            let value = Self.activated(layer.activation, sums[row][output])
            return masks.isEmpty || index == network.layers.count - 1
              ? value : value * masks[index][row * layer.stride + output]
          }
        }
      }
      return (0..<rows).reduce(0.0) { total, row in
        guard !network.isRegression else { return total + weights[row] * pow(x[row][0] - targets[row], 2) }
        let sum = x[row].reduce(0) { $0 + exp($1) }
        return total + weights[row] * (log(sum) - x[row][Int(targets[row])])
      } / Double(rows)
    }
  }

  private func check(_ shape: Network.Shape, dropout: Float = 0) {
    let rows = 11
    let network = Network(shape, batchRowsMax: 16)
    var random = RandomSource(seed: 3)
    network.initialise(&random)
    // Scales and shifts that are not 1 and 0.
    for index in network.decayingCount..<network.learningCount where network.parameters.start[index] != 0 {
      network.parameters.start[index] += Float(random.normal()) * 0.2
    }
    let inputs = (0..<rows).map { _ in (0..<shape.numbers).map { _ in Double(Float(random.normal())) } }
    let codes = (0..<rows).map { _ in shape.categories.map { random.index(below: $0.levels + 1) - 1 } }
    for row in 0..<rows {
      for column in 0..<shape.numbers { network.input[row * network.inputStride + column] = Float(inputs[row][column]) }
      for (index, code) in codes[row].enumerated() { network.codes[row * codes[row].count + index] = Int32(code) }
    }
    let targets = (0..<rows).map { Double($0 % shape.outputs) + (shape.isRegression ? 0.5 * Double($0) : 0) }
    let weights = (0..<rows).map { Float($0 % 4) / 2 }
    var dropper: RandomSource? = RandomSource(seed: 4)
    network.forward(rows: rows, isTraining: true, dropout: dropout, random: &dropper)
    let found = network.loss(targets: targets, weights: weights, rows: rows).sum / Double(rows)
    network.backward(rows: rows, dropout: dropout)

    var reference = Reference(
      network: network, rows: rows, inputs: inputs, codes: codes, targets: targets, weights: weights.map { Double($0) })
    if dropout > 0 {
      reference.masks = network.masks.map { mask in (0..<mask.count).map { Double(mask.start[$0]) } }
      #expect(reference.masks[0].contains(0) && reference.masks[0].contains(Double(1 / (1 - dropout))))
    }
    var point = (0..<network.parameters.count).map { Double(network.parameters.start[$0]) }
    #expect(abs(reference.loss(point) - found) < 1e-5 * max(1, found))
    for index in 0..<network.learningCount {
      let value = point[index]
      point[index] = value + 1e-5
      let ahead = reference.loss(point)
      point[index] = value - 1e-5
      let behind = reference.loss(point)
      point[index] = value
      let slope = (ahead - behind) / 2e-5
      let gradient = Double(network.gradient.start[index])
      #expect(abs(slope - gradient) < 2e-5 * max(1, abs(slope)), "parameter \(index): \(gradient) instead of \(slope)")
    }
  }

  @Test(arguments: [Dense.Activation.relu, .tanh, .gelu, .logistic], [false, true])
  func everyParameterHasTheDerivativeOfTheLoss(activation: Dense.Activation, isRegression: Bool) {
    check(
      Network.Shape(
        numbers: 3, hidden: [5, 18], outputs: isRegression ? 1 : 3, activation: activation, isRegression: isRegression))
  }

  @Test(arguments: [false, true])
  func normalisedSumsAndEmbeddingsHaveGradientsToo(hasNorm: Bool) {
    check(
      Network.Shape(
        numbers: 2, categories: [(5, 3), (4, 0), (20, 17)], hidden: [6, 4], outputs: 3, activation: .tanh,
        hasNorm: hasNorm, isRegression: false))
    check(
      Network.Shape(
        numbers: 0, categories: [(5, 0)], hidden: [], outputs: 1, activation: .relu, isRegression: true))
  }

  @Test func unitsThatAreOffHaveNoGradient() {
    check(
      Network.Shape(numbers: 3, hidden: [9, 7], outputs: 3, activation: .gelu, hasNorm: true, isRegression: false),
      dropout: 0.4)
  }

  @Test func runningFiguresMoveByATenthAsPyTorchsDo() {
    let network = Network(
      Network.Shape(numbers: 1, hidden: [1], outputs: 1, activation: .relu, hasNorm: true, isRegression: true),
      batchRowsMax: 4)
    let layer = network.layers[0]
    network.parameters.start[layer.weights] = 1
    for (row, x) in [1, 2, 3, 6].enumerated() { network.input[row * network.inputStride] = Float(x) }
    var none: RandomSource?
    network.forward(rows: 4, isTraining: true, random: &none)
    // Mean 3; squares 4, 1, 0, 9, so that the variance of a sample is 14 / 3.
    guard let norm = layer.norm else {
      Issue.record("expected batch normalisation")
      return
    }
    #expect(abs(network.parameters.start[norm.mean] - 0.3) < 1e-6)
    #expect(abs(network.parameters.start[norm.variance] - (0.9 + 0.1 * 14 / 3)) < 1e-6)
    network.forward(rows: 4, random: &none)
    #expect(abs(network.parameters.start[norm.mean] - 0.3) < 1e-6, "only training moves them")
  }

  @Test func stepsOfAdamFollowTheirFormula() {
    for rule in [Optimiser.Rule.adam, .adamw, .sgd] {
      let network = Network(
        Network.Shape(numbers: 2, hidden: [], outputs: 1, activation: .relu, isRegression: true), batchRowsMax: 1)
      var optimiser = Optimiser(
        rule: rule, momentum: 0.9, weightDecay: 0.1, parameterCount: network.learningCount)
      let (weight, bias) = (network.layers[0].weights, network.layers[0].bias)
      network.parameters.start[weight] = 2
      network.parameters.start[bias] = 1
      var (p, first, second) = ([2.0, 1], [0.0, 0], [0.0, 0])
      for step in 1...5 {
        for (index, place) in [weight, bias].enumerated() {
          let slope = Double(index) + 0.3 * Double(step)
          network.gradient.start[place] = Float(slope)
          // Biases do not decay.
          let decay = index == 0 ? 0.1 : 0
          let g = slope + (rule == .adamw ? 0 : decay * p[index])
          if rule == .sgd {
            first[index] = 0.9 * first[index] + g
            p[index] -= 0.05 * first[index]
            continue
          }
          first[index] = 0.9 * first[index] + 0.1 * g
          second[index] = 0.999 * second[index] + 0.001 * g * g
          let mean = first[index] / (1 - pow(0.9, Double(step)))
          let root = (second[index] / (1 - pow(0.999, Double(step)))).squareRoot()
          if rule == .adamw { p[index] *= 1 - 0.05 * decay }
          p[index] -= 0.05 * mean / (root + 1e-8)
        }
        optimiser.update(network, learningRate: 0.05)
        #expect(abs(Double(network.parameters.start[weight]) - p[0]) < 1e-5)
        #expect(abs(Double(network.parameters.start[bias]) - p[1]) < 1e-5)
      }
    }
  }
}
