internal import NeedletailCore

/// Turns fp32 weights into int8: symmetric, one scale per output channel.
enum Quantiser {
  /// - Parameter layers: indices of dense nodes to quantise; the others keep fp32.
  static func quantise(_ graph: ModelGraph, layers: Set<Int>) -> ModelGraph {
    var result = graph
    for index in layers {
      guard case .dense(let dense) = graph.nodes[index].operation else { continue }
      result.tensors[dense.weights] = quantise(graph.tensors[dense.weights])
    }
    return result
  }

  /// w ≈ q · scale with q in −127…127 and scale = max|w| / 127 of the row.
  static func quantise(_ tensor: WeightTensor) -> WeightTensor {
    guard case .float32(let weights) = tensor.storage, tensor.shape.count == 2 else { return tensor }
    let columns = tensor.shape[1]
    var quantised = [Int8](repeating: 0, count: weights.count)
    var scales = [Float](repeating: 1, count: tensor.shape[0])
    for row in 0..<tensor.shape[0] {
      let range = (row * columns)..<((row + 1) * columns)
      let largest = weights[range].reduce(0) { max($0, abs($1)) }
      // A row of zeros, or of numbers too small to divide by, stays zero.
      guard largest > 1e-30 else { continue }
      let scale = largest / 127
      scales[row] = scale
      for position in range {
        let rounded = (weights[position] / scale).rounded(.toNearestOrEven)
        quantised[position] = Int8(max(-127, min(127, rounded)))
      }
    }
    return WeightTensor(name: tensor.name, shape: tensor.shape, storage: .int8(quantised, scales: scales))
  }

  /// Indices of the dense nodes, in their order.
  static func denseLayers(of graph: ModelGraph) -> [Int] {
    graph.nodes.indices.filter { index in
      if case .dense = graph.nodes[index].operation { true } else { false }
    }
  }

  /// Weights in the dense layers, biases not counted.
  static func weightCount(of graph: ModelGraph) -> Int {
    denseLayers(of: graph).reduce(0) { sum, index in
      guard case .dense(let dense) = graph.nodes[index].operation else { return sum }
      return sum + graph.tensors[dense.weights].elementCount
    }
  }

  /// Bytes of all tensors as a bundle stores them, before compression.
  static func tensorBytes(of graph: ModelGraph) -> Int {
    graph.tensors.reduce(0) { sum, tensor in
      switch tensor.storage {
      case .float32(let weights): sum + 4 * weights.count
      case .int8(let weights, let scales): sum + weights.count + 4 * scales.count
      }
    }
  }
}
