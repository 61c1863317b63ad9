public import NeedletailCore

/// Grows a model graph from the bound input row, node by node.
public struct GraphBuilder: Sendable {
  public private(set) var values: [ModelGraph.Value]
  public private(set) var nodes: [Node] = []
  public private(set) var tensors: [WeightTensor] = []
  /// The value written last.
  public var last: Int { values.count - 1 }

  /// - Parameter inputColumns: features of the schema.
  public init(inputColumns: Int) {
    values = [.init(name: "input", columns: inputColumns)]
  }

  public func columns(of value: Int) -> Int { values[value].columns }

  /// - Returns: the value the new node writes.
  @discardableResult
  public mutating func add(_ operation: Operation, name: String, from input: Int, columns: Int) -> Int {
    values.append(.init(name: name, columns: columns))
    nodes.append(Node(name: name, input: input, output: last, operation: operation))
    return last
  }

  /// A fully connected layer.
  ///
  /// - Parameter weights: [output columns, input columns].
  @discardableResult
  public mutating func addDense(
    name: String, from input: Int, weights: Matrix, bias: [Float], activation: Dense.Activation
  ) -> Int {
    precondition(weights.columns == columns(of: input) && bias.count == weights.rows)
    tensors.append(
      WeightTensor(
        name: "\(name).weight", shape: [weights.rows, weights.columns], storage: .float32(weights.elements)))
    tensors.append(WeightTensor(name: "\(name).bias", shape: [bias.count], storage: .float32(bias)))
    let dense = Dense(weights: tensors.count - 2, bias: tensors.count - 1, activation: activation)
    return add(.dense(dense), name: name, from: input, columns: weights.rows)
  }

  /// Names the answers: `probabilities`, `class` and `label`, or `prediction`.
  public consuming func finish(task: ModelGraph.Task, rawOutputs: Int) -> ModelGraph {
    var outputs: [ModelGraph.Output]
    switch task {
    case .classification:
      let probabilities = add(.softmax, name: "probabilities", from: rawOutputs, columns: columns(of: rawOutputs))
      let index = add(.argMax, name: "class", from: probabilities, columns: 1)
      outputs = [
        .init(name: "probabilities", value: probabilities, kind: .number),
        .init(name: "class", value: index, kind: .classIndex),
        .init(name: "label", value: index, kind: .classLabel),
      ]
    case .regression:
      outputs = [.init(name: "prediction", value: rawOutputs, kind: .number)]
    }
    return ModelGraph(task: task, values: values, nodes: nodes, outputs: outputs, tensors: tensors)
  }
}
