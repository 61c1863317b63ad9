internal import NeedletailCore
internal import NeedletailEngine

extension ModelGraph {
  /// The graph with another rule for the class: the second of two where its probability is at least a threshold.
  ///
  /// One node before the choice of the class takes the threshold off the second probability, and makes the first so
  /// small that only the sign of what is left decides. Probabilities leave the graph as before.
  ///
  /// - Precondition: the graph was ended by ``GraphBuilder/finish(_:classCount:raw:)`` for two classes.
  func deciding(at threshold: Double) -> ModelGraph {
    guard let choice = nodes.last, choice.operation is ArgMax, let input = choice.inputs.first,
      values[input].columns == 2
    else { preconditionFailure("a graph of two classes ends in their choice") }
    // In fp32, at least the threshold is above the largest number below it.
    let rounded = Float(threshold)
    let below = Double(rounded) >= threshold ? rounded.nextDown : rounded
    let rule = Affine(scaling: .standardise, offset: [0, below], scale: [.leastNormalMagnitude, 1])
    var graph = self
    let distance = graph.values.count
    graph.values.append(.init(name: "distance", columns: 2))
    graph.nodes.insert(Node(name: "threshold", input: input, output: distance, operation: rule), at: nodes.count - 1)
    graph.nodes[nodes.count].inputs = [distance]
    return graph
  }
}
