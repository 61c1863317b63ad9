internal import NeedletailEngine

/// What a fine-tuning adds to a layer of an encoder's body, and its folder does not have.
struct EncoderAddition {
  /// Two layers, few columns between them, whose product is added to what the first reads.
  struct Bottleneck {
    /// Weights, row-major, and bias.
    let down: (weights: [Float], bias: [Float])
    let up: (weights: [Float], bias: [Float])
    let activation: Dense.Activation

    /// - Parameter name: of the layer that it stands behind.
    /// - Returns: the value of the sum.
    func add(_ name: String, behind input: Int, to graph: inout EncoderGraph) -> Int {
      let inner = graph.addDense(
        "\(name).adapter.down", from: input, weights: down.weights, bias: down.bias, activation)
      let outer = graph.addDense("\(name).adapter.up", from: inner, weights: up.weights, bias: up.bias)
      return graph.addSum("\(name).adapter added", outer, input)
    }
  }

  /// Behind the attention's layer.
  var output: Bottleneck?
  /// Behind the two wide layers.
  var outer: Bottleneck?
  /// Keys and values of places in front of the tokens, each row-major.
  var prefix: (keys: [Float], values: [Float])?

  /// Attention of a layer, with its prefix.
  func attention(_ name: String, heads: Int, width: Int, in graph: inout EncoderGraph) -> SelfAttention {
    guard let prefix else { return SelfAttention(heads: heads) }
    let shape = [prefix.keys.count / width, width]
    let keys = graph.addTensor("\(name).prefix.keys", shape, prefix.keys)
    let values = graph.addTensor("\(name).prefix.values", shape, prefix.values)
    return SelfAttention(heads: heads, prefix: .init(keys: keys, values: values))
  }
}
