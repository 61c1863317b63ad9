internal import CNeedletailProto
internal import NeedletailCore

/// The graph: values, nodes, outputs, and where each tensor's bytes stand in the weights section.
enum GraphSection {
  /// A graph whose tensors are still without their bytes.
  struct Blueprint {
    var graph: ModelGraph
    var tensors: [TensorPlace]
  }

  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> Blueprint {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "graph", needletail__v1__graph__init)
    defer { withExtendedLifetime(memory) {} }
    let name = MessageValues.text(message.task)
    guard let task = ModelGraph.Task(rawValue: name) else {
      throw BundleError(
        .unsupported, "graph: task: expected classification or regression, found \(name.quotedForMessage)")
    }
    try Bounds.check(message.n_values, 1...Limits.graphValuesMax, "graph: values")
    try Bounds.check(message.n_nodes, 0...Limits.graphNodesMax, "graph: nodes")
    try Bounds.check(message.n_outputs, 1...Limits.graphOutputsMax, "graph: outputs")
    try Bounds.check(message.n_tensors, 0...Limits.graphTensorsMax, "graph: tensors")
    let values = MessageValues.messages(message.values, message.n_values).map {
      ModelGraph.Value(name: MessageValues.text($0.name), columns: Int($0.columns))
    }
    let nodes = try MessageValues.messages(message.nodes, message.n_nodes).map { node throws(BundleError) in
      try self.node(node)
    }
    let outputs = try MessageValues.messages(message.outputs, message.n_outputs).map { output throws(BundleError) in
      let name = MessageValues.text(output.name)
      return ModelGraph.Output(
        name: name, value: Int(output.value),
        kind: try MessageValues.known(
          output.kind.rawValue, as: ModelGraph.Output.Kind.self, "output \(name.quotedForMessage): kind"))
    }
    let tensors = try MessageValues.messages(message.tensors, message.n_tensors).map { tensor throws(BundleError) in
      try TensorPlace(tensor)
    }
    return Blueprint(
      graph: ModelGraph(task: task, values: values, nodes: nodes, outputs: outputs, tensors: []), tensors: tensors)
  }

  private static func node(_ message: Needletail__V1__Node) throws(BundleError) -> Node {
    let name = MessageValues.text(message.name)
    let operation: Operation
    switch message.operation_case {
    case NEEDLETAIL__V1__NODE__OPERATION_IMPUTE:
      let impute = message.impute.pointee
      operation = .impute(fill: MessageValues.array(impute.fill, impute.n_fill))
    case NEEDLETAIL__V1__NODE__OPERATION_AFFINE:
      let affine = message.affine.pointee
      operation = .affine(
        Affine(
          scaling: try MessageValues.known(
            affine.scaling.rawValue, as: Affine.Scaling.self, "node \(name.quotedForMessage): scaling"),
          offset: MessageValues.array(affine.offset, affine.n_offset),
          scale: MessageValues.array(affine.scale, affine.n_scale), clamp: affine.clamp != 0))
    case NEEDLETAIL__V1__NODE__OPERATION_ONE_HOT:
      let oneHot = message.one_hot.pointee
      operation = .oneHot(widths: MessageValues.array(oneHot.width, oneHot.n_width).map { Int($0) })
    case NEEDLETAIL__V1__NODE__OPERATION_DENSE:
      let dense = message.dense.pointee
      operation = .dense(
        Dense(
          weights: Int(dense.weights), bias: dense.bias == 0 ? nil : Int(dense.bias) - 1,
          activation: try MessageValues.known(
            dense.activation.rawValue, as: Dense.Activation.self, "node \(name.quotedForMessage): activation")))
    case NEEDLETAIL__V1__NODE__OPERATION_SOFTMAX: operation = .softmax
    case NEEDLETAIL__V1__NODE__OPERATION_SIGMOID: operation = .sigmoid
    case NEEDLETAIL__V1__NODE__OPERATION_ARG_MAX: operation = .argMax
    default:
      throw BundleError(
        .unsupported,
        "node \(name.quotedForMessage): operation: expected one of engine generation \(engineGeneration), found none that it knows"
      )
    }
    return Node(name: name, input: Int(message.input), output: Int(message.output), operation: operation)
  }
}

// MARK: - Encoding

extension GraphSection {
  /// - Parameter tensors: one place for each tensor of the graph.
  static func encode(_ graph: ModelGraph, tensors: [TensorPlace]) -> [UInt8] {
    let memory = MessageMemory.forBuilding()
    let values = graph.values.map { value in
      memory.build(needletail__v1__value__init) {
        $0.name = memory.text(value.name)
        $0.columns = UInt32(value.columns)
      }
    }
    let nodes = graph.nodes.map { message(of: $0, in: memory) }
    let outputs = graph.outputs.map { output in
      memory.build(needletail__v1__output__init) {
        $0.name = memory.text(output.name)
        $0.value = UInt32(output.value)
        $0.kind = Needletail__V1__OutputKind(UInt32(output.kind.rawValue))
      }
    }
    let places = tensors.map { place in
      memory.build(needletail__v1__weight_tensor__init) {
        $0.name = memory.text(place.name)
        $0.type = Needletail__V1__DataType(UInt32(place.type.rawValue))
        $0.n_shape = place.shape.count
        $0.shape = memory.array(place.shape.map { UInt64($0) })
        $0.offset = UInt64(place.offset)
        $0.scales_offset = UInt64(place.scalesOffset)
      }
    }
    return memory.pack(
      memory.build(needletail__v1__graph__init) {
        $0.task = memory.text(graph.task.rawValue)
        $0.n_values = values.count
        $0.values = memory.array(values)
        $0.n_nodes = nodes.count
        $0.nodes = memory.array(nodes)
        $0.n_outputs = outputs.count
        $0.outputs = memory.array(outputs)
        $0.n_tensors = places.count
        $0.tensors = memory.array(places)
      })
  }

  private static func message(
    of node: Node, in memory: MessageMemory
  ) -> UnsafeMutablePointer<Needletail__V1__Node>? {
    memory.build(needletail__v1__node__init) { message in
      message.name = memory.text(node.name)
      message.input = UInt32(node.input)
      message.output = UInt32(node.output)
      switch node.operation {
      case .impute(let fill):
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_IMPUTE
        message.impute = memory.build(needletail__v1__impute__init) {
          $0.n_fill = fill.count
          $0.fill = memory.array(fill)
        }
      case .affine(let affine):
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_AFFINE
        message.affine = memory.build(needletail__v1__affine__init) {
          $0.scaling = Needletail__V1__Scaling(UInt32(affine.scaling.rawValue))
          $0.n_offset = affine.offset.count
          $0.offset = memory.array(affine.offset)
          $0.n_scale = affine.scale.count
          $0.scale = memory.array(affine.scale)
          $0.clamp = affine.clamp ? 1 : 0
        }
      case .oneHot(let widths):
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_ONE_HOT
        message.one_hot = memory.build(needletail__v1__one_hot__init) {
          $0.n_width = widths.count
          $0.width = memory.array(widths.map { UInt32($0) })
        }
      case .dense(let dense):
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_DENSE
        message.dense = memory.build(needletail__v1__dense__init) {
          $0.weights = UInt32(dense.weights)
          $0.bias = dense.bias.map { UInt32($0 + 1) } ?? 0
          $0.activation = Needletail__V1__Activation(UInt32(dense.activation.rawValue))
        }
      case .softmax:
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_SOFTMAX
        message.softmax = memory.build(needletail__v1__softmax__init) { _ in }
      case .sigmoid:
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_SIGMOID
        message.sigmoid = memory.build(needletail__v1__sigmoid__init) { _ in }
      case .argMax:
        message.operation_case = NEEDLETAIL__V1__NODE__OPERATION_ARG_MAX
        message.arg_max = memory.build(needletail__v1__arg_max__init) { _ in }
      }
    }
  }
}
