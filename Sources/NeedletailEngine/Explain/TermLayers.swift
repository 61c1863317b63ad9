internal import NeedletailCore

/// Layers of a linear model that read the terms of texts, whose answers are the contributions of the texts: each takes off
/// its own mean over the training rows.
struct TermLayers: Sendable {
  /// One text and what its layer answers.
  struct Part: Equatable, Sendable {
    /// Feature of the schema.
    var feature: Int
    /// Value of the graph that the layer writes.
    var value: Int
    /// Nodes of the terms and of their layer.
    var terms: Int
    var layer: Int
  }

  let parts: [Part]
  /// The layer of all other features; nil where there are none.
  let rowLayer: Int?
  /// The value that all layers add up to.
  let score: Int
  /// Score of each output with the mean of every text, where there is no layer of other features; else empty.
  let constants: [Double]

  /// - Throws: why the texts of a graph cannot be explained.
  init(_ graph: ModelGraph, _ schema: FeatureSchema) throws(ExplanationError) {
    var textOfValue: [Int: (text: Int, node: Int)] = [:]
    for (index, node) in graph.nodes.enumerated() {
      if let terms = node.operation as? TextTerms { textOfValue[node.outputs[0]] = (terms.text, index) }
    }
    let features = schema.features.indices.filter { schema.features[$0].kind == .text }
    let layers = graph.nodes.indices.filter { graph.nodes[$0].operation is Dense }
    let texts = layers.filter { textOfValue[graph.nodes[$0].inputs[0]] != nil }
    let others = layers.filter { textOfValue[graph.nodes[$0].inputs[0]] == nil }
    guard texts.count == textOfValue.count, !texts.isEmpty, others.count <= 1,
      !graph.nodes.contains(where: { $0.operation is TreeEnsemble || $0.operation is LinearTrees }),
      layers.allSatisfy({ (graph.nodes[$0].operation as? Dense)?.activation == .identity })
    else {
      throw ExplanationError(
        "graph: expected one linear layer for each text and one for all other features, found another model of text, "
          + "which has no exact explanation that takes less than 2 to the power of its features")
    }
    let sum = try Self.sum(of: layers, in: graph)
    let again = "found none in this bundle, which an earlier trainer wrote; train the model again"
    if let other = others.first {
      guard texts.allSatisfy({ Self.bias(of: $0, in: graph).contains { $0 != 0 } }) else {
        throw ExplanationError("graph: expected layers of texts that take off their mean, \(again)")
      }
      (rowLayer, score, constants) = (other, sum, [])
    } else {
      guard let next = graph.nodes.first(where: { $0.inputs == [sum] }), let affine = next.operation as? Affine,
        affine.scale.allSatisfy({ $0 == 1 }), !affine.clamp
      else {
        throw ExplanationError("graph: expected a layer of texts that takes off its mean, \(again)")
      }
      (rowLayer, score, constants) = (nil, next.outputs[0], affine.offset.map { -Double($0) })
    }
    parts = texts.compactMap { layer in
      let node = graph.nodes[layer]
      return textOfValue[node.inputs[0]].map { terms in
        Part(feature: features[terms.text], value: node.outputs[0], terms: terms.node, layer: layer)
      }
    }
  }

  /// The value that the answers of all layers are added up to.
  private static func sum(of layers: [Int], in graph: ModelGraph) throws(ExplanationError) -> Int {
    var values = layers.map { graph.nodes[$0].outputs[0] }
    for node in graph.nodes where node.operation is Add && node.inputs.allSatisfy(values.contains) {
      values.removeAll(where: node.inputs.contains)
      values.append(node.outputs[0])
    }
    guard values.count == 1 else {
      throw ExplanationError("graph: expected layers that are added up, found \(values.count) that stand apart")
    }
    return values[0]
  }

  private static func bias(of layer: Int, in graph: ModelGraph) -> [Float] {
    (graph.nodes[layer].operation as? Dense)?.bias.flatMap { graph.tensors[$0].floats } ?? []
  }
}
