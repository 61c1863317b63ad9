internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine

/// The graph: values, nodes, outputs, and where each tensor's bytes stand in the weights section. What an operation
/// says is the engine's to read and write.
enum GraphSection {
  /// A graph whose tensors are still without their bytes.
  struct Blueprint {
    var graph: ModelGraph
    var tensors: [TensorPlace]
    /// Whether a node names its values in `inputs` and `outputs`, where a reader of format 1.0 sees none.
    var listsValues: Bool
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
    let nodes = try MessageValues.messages(message.nodes, message.n_nodes).map { node throws(BundleError) in
      try self.node(node)
    }
    var values: [ModelGraph.Value] = []
    for (index, value) in MessageValues.messages(message.values, message.n_values).enumerated() {
      values.append(try self.value(value, index, nodes))
    }
    let outputs = try MessageValues.messages(message.outputs, message.n_outputs).map { output throws(BundleError) in
      let name = MessageValues.text(output.name)
      return ModelGraph.Output(
        name: name, value: Int(output.value),
        kind: try MessageValues.enumeration(
          output.kind.rawValue, as: OutputKind.self, "output \(name.quotedForMessage): kind"))
    }
    let tensors = try MessageValues.messages(message.tensors, message.n_tensors).map { tensor throws(BundleError) in
      try TensorPlace(tensor)
    }
    let listsValues = MessageValues.messages(message.nodes, message.n_nodes).contains {
      $0.n_inputs > 0 || $0.n_outputs > 0
    }
    return Blueprint(
      graph: ModelGraph(
        task: task, values: values, nodes: nodes, outputs: outputs, tensors: [],
        textInput: message.text_input == 0 ? nil : Int(message.text_input)), tensors: tensors,
      listsValues: listsValues)
  }

  /// Without type, shape and domain a value is what format 1.0 knew: fp32 columns per row.
  private static func value(
    _ message: Needletail__V1__Value, _ index: Int, _ nodes: [Node]
  ) throws(BundleError) -> ModelGraph.Value {
    let name = MessageValues.text(message.name)
    /// The words of an error. The search for the writing node takes too long for values without a fault.
    func field() -> String {
      let writer = nodes.first { $0.outputs.contains(index) }.map { " of node \($0.name.quotedForMessage)" } ?? ""
      return "value \(index) \(name.quotedForMessage)\(writer)"
    }
    var type = ValueType(columns: Int(message.columns))
    if message.type.rawValue != 0 {
      type.element = try MessageValues.enumeration(
        message.type.rawValue, as: ValueType.Element.self, "\(field()): element type")
    }
    type.domain = try MessageValues.enumeration(
      message.domain.rawValue, as: ValueType.Domain.self, "\(field()): domain")
    if message.n_shape > 0 {
      try Bounds.check(message.n_shape, 1...ValueType.rankMax, "\(field()): dimensions of an item")
      type.shape = MessageValues.integers(message.shape, message.n_shape)
      guard type.columns == Int(message.columns) else {
        throw BundleError(
          .invalidGraph, "\(field()): expected \(message.columns) elements in an item, found shape \(type.shape)")
      }
    }
    return ModelGraph.Value(name: name, type: type)
  }

  private static func node(_ message: Needletail__V1__Node) throws(BundleError) -> Node {
    let name = MessageValues.text(message.name)
    // The bound comes first: later checks search the lists of all nodes.
    guard message.n_inputs <= Limits.nodeValuesMax, message.n_outputs <= Limits.nodeValuesMax else {
      throw BundleError(
        .oversized,
        "node \(name.quotedForMessage): expected at most \(Limits.nodeValuesMax) inputs and outputs, found \(message.n_inputs) and \(message.n_outputs)"
      )
    }
    let operation: any GraphOperation
    do throws(GraphFault) {
      operation = try withUnsafePointer(to: message) { node throws(GraphFault) in
        try OperationCatalog.operation(of: node)
      }
    } catch {
      throw BundleError(error)
    }
    guard message.n_inputs > 0 || message.n_outputs > 0 else {
      return Node(name: name, input: Int(message.input), output: Int(message.output), operation: operation)
    }
    guard message.input == 0, message.output == 0 else {
      throw BundleError(
        .malformed,
        "node \(name.quotedForMessage): expected its values in input and output or in inputs and outputs, found both")
    }
    return Node(
      name: name, inputs: MessageValues.integers(message.inputs, message.n_inputs),
      outputs: MessageValues.integers(message.outputs, message.n_outputs), operation: operation)
  }
}

// MARK: - Encoding

extension GraphSection {
  /// Whether a reader of format 1.0 would take the graph for another one, so that the bundle must ask for a reader of
  /// 1.1. What such a reader refuses by itself, an operation or a type that it does not know, does not count.
  static func needsOpenGraph(_ graph: ModelGraph) -> Bool {
    graph.values.contains { $0.type != ValueType(columns: $0.columns) }
      || graph.nodes.contains { $0.inputs.count != 1 || $0.outputs.count != 1 }
      || graph.tensors.contains { if case .float16 = $0.storage { true } else { false } }
  }

  /// Whether attention reads keys and values in front of those of its sequences.
  static func hasPrefixes(_ graph: ModelGraph) -> Bool {
    graph.nodes.contains { ($0.operation as? SelfAttention)?.prefix != nil }
  }

  /// - Parameter tensors: one place for each tensor of the graph.
  static func encode(_ graph: ModelGraph, tensors: [TensorPlace]) -> [UInt8] {
    let memory = MessageBuilder()
    let values = graph.values.map { value in
      memory.build(needletail__v1__value__init) {
        $0.name = memory.text(value.name)
        $0.columns = UInt32(clamping: value.columns)
        if value.type.element != .float32 {
          $0.type = Needletail__V1__DataType(UInt32(value.type.element.rawValue))
        }
        if value.type.shape.count != 1 {
          $0.n_shape = value.type.shape.count
          $0.shape = memory.array(value.type.shape.map { UInt32(clamping: $0) })
        }
        $0.domain = Needletail__V1__Domain(UInt32(value.type.domain.rawValue))
      }
    }
    let nodes = graph.nodes.map { message(of: $0, in: memory) }
    let outputs = graph.outputs.map { output in
      memory.build(needletail__v1__output__init) {
        $0.name = memory.text(output.name)
        $0.value = UInt32(clamping: output.value)
        $0.kind = Needletail__V1__OutputKind(UInt32(output.kind.rawValue))
      }
    }
    let places = tensors.map { $0.message(in: memory) }
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
        $0.text_input = UInt32(clamping: graph.textInput ?? 0)
      })
  }

  private static func message(
    of node: Node, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__Node>? {
    let message = memory.build(needletail__v1__node__init) { message in
      message.name = memory.text(node.name)
      if node.inputs.count == 1, node.outputs.count == 1 {
        message.input = UInt32(clamping: node.inputs[0])
        message.output = UInt32(clamping: node.outputs[0])
      } else {
        message.n_inputs = node.inputs.count
        message.inputs = memory.array(node.inputs.map { UInt32(clamping: $0) })
        message.n_outputs = node.outputs.count
        message.outputs = memory.array(node.outputs.map { UInt32(clamping: $0) })
      }
    }
    if let message { OperationCatalog.set(node.operation, in: message, memory: memory) }
    return message
  }
}

/// Feature names, kinds, category tables and policies.
enum FeaturesSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> FeatureSchema {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "features", needletail__v1__feature_schema__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_features, 1...Limits.featuresMax, "features")
    let features = try MessageValues.messages(message.features, message.n_features).map { feature throws(BundleError) in
      try self.feature(feature)
    }
    var rules: ValueRules?
    if let message = message.value_rules?.pointee {
      try Bounds.check(message.n_missing, 0...Limits.missingWordsMax, "value rules: missing words")
      rules = ValueRules(
        missing: MessageValues.texts(message.missing, message.n_missing),
        numbers: NumberStyle(
          thousands: try MessageValues.enumeration(
            message.thousands.rawValue, as: NumberStyle.Thousands.self, "value rules: thousands"),
          hasDecimalComma: message.decimal_comma != 0, allowsUnits: message.units != 0))
    }
    return FeatureSchema(features: features, target: MessageValues.text(message.target), rules: rules)
  }

  private static func feature(_ message: Needletail__V1__Feature) throws(BundleError) -> Feature {
    let name = MessageValues.text(message.name)
    let field = "feature \(name.quotedForMessage)"
    let unknown = try MessageValues.enumeration(
      message.unknown.rawValue, as: Feature.UnknownPolicy.self, "\(field): unknown policy")
    let order = try MessageValues.enumeration(
      message.date_order.rawValue, as: DateOrder.self, "\(field): date order")
    guard order == .yearFirst || message.kind == NEEDLETAIL__V1__FEATURE_KIND__DATETIME else {
      throw BundleError(.invalidGraph, "\(field): expected an order of day and month on a date only, found one")
    }
    let kind: Feature.Kind
    switch message.kind {
    case NEEDLETAIL__V1__FEATURE_KIND__NUMERIC:
      guard message.n_categories == 0, unknown == .refuse else {
        throw BundleError(.invalidGraph, "\(field): expected no categories on a numeric feature, found some")
      }
      kind = .numeric
    case NEEDLETAIL__V1__FEATURE_KIND__CATEGORICAL:
      try Bounds.check(message.n_categories, 0...Limits.categoriesMax, "\(field): categories")
      kind = .categorical(
        categories: MessageValues.texts(message.categories, message.n_categories), unknown: unknown)
    case NEEDLETAIL__V1__FEATURE_KIND__TEXT:
      guard message.n_categories == 0, unknown == .refuse else {
        throw BundleError(.invalidGraph, "\(field): expected no categories on a text, found some")
      }
      kind = .text
    case NEEDLETAIL__V1__FEATURE_KIND__DATETIME:
      guard message.n_categories == 0, unknown == .refuse else {
        throw BundleError(.invalidGraph, "\(field): expected no categories on a date, found some")
      }
      kind = .datetime(order: order)
    default:
      throw BundleError(.unsupported, "\(field): kind: expected 0 to 3, found \(message.kind.rawValue)")
    }
    return Feature(
      name: name, kind: kind,
      missing: try MessageValues.enumeration(
        message.missing.rawValue, as: Feature.MissingPolicy.self, "\(field): missing policy"),
      summary: MessageValues.text(message.description), buckets: Int(message.buckets))
  }

  static func encode(_ schema: FeatureSchema) -> [UInt8] {
    let memory = MessageBuilder()
    let features = schema.features.map { feature in
      memory.build(needletail__v1__feature__init) {
        $0.name = memory.text(feature.name)
        $0.missing = Needletail__V1__MissingPolicy(UInt32(feature.missing.rawValue))
        $0.description = memory.text(feature.summary)
        if feature.kind == .text { $0.kind = NEEDLETAIL__V1__FEATURE_KIND__TEXT }
        if case .datetime(let order) = feature.kind {
          $0.kind = NEEDLETAIL__V1__FEATURE_KIND__DATETIME
          $0.date_order = Needletail__V1__DateOrder(UInt32(order.rawValue))
        }
        guard case .categorical(let categories, let unknown) = feature.kind else { return }
        $0.kind = NEEDLETAIL__V1__FEATURE_KIND__CATEGORICAL
        $0.n_categories = categories.count
        $0.categories = memory.array(categories.map { memory.text($0) })
        $0.unknown = Needletail__V1__UnknownPolicy(UInt32(unknown.rawValue))
        $0.buckets = UInt32(clamping: feature.buckets)
      }
    }
    return memory.pack(
      memory.build(needletail__v1__feature_schema__init) {
        $0.n_features = features.count
        $0.features = memory.array(features)
        $0.target = memory.text(schema.target)
        guard let rules = schema.rules else { return }
        $0.value_rules = memory.build(needletail__v1__value_rules__init) {
          $0.n_missing = rules.missing.count
          $0.missing = memory.array(rules.missing.map { memory.text($0) })
          $0.thousands = Needletail__V1__ThousandsMark(UInt32(rules.numbers.thousands.rawValue))
          $0.decimal_comma = rules.numbers.hasDecimalComma ? 1 : 0
          $0.units = rules.numbers.allowsUnits ? 1 : 0
        }
      })
  }
}

/// Class labels by class index.
enum LabelsSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> [String] {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "labels", needletail__v1__label_map__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_labels, 1...Limits.labelsMax, "labels")
    return MessageValues.texts(message.labels, message.n_labels)
  }

  static func encode(_ labels: [String]) -> [UInt8] {
    let memory = MessageBuilder()
    return memory.pack(
      memory.build(needletail__v1__label_map__init) {
        $0.n_labels = labels.count
        $0.labels = memory.array(labels.map { memory.text($0) })
      })
  }
}
