internal import NeedletailCore
public import NeedletailEngine

/// Grows a model graph from the bound input row, node by node.
public struct GraphBuilder: Sendable {
  public private(set) var values: [ModelGraph.Value]
  public private(set) var nodes: [Node] = []
  public private(set) var tensors: [WeightTensor] = []
  /// Index of the value written last.
  public var last: Int { values.count - 1 }
  /// Index of the value that holds the texts of a row; nil where no feature is text.
  public let textInput: Int?
  /// Values that hold the terms of each text, for the family whose nodes come next.
  var terms: [Int] = []

  /// - Parameters:
  ///   - inputColumns: number of features in the schema.
  ///   - element: type that they are bound as: f32 or f64.
  ///   - texts: number of features that are text.
  public init(inputColumns: Int, element: ValueType.Element = .float32, texts: Int = 0) {
    values = [.init(name: "input", type: ValueType(element, [inputColumns]))]
    textInput = texts > 0 ? 1 : nil
    if texts > 0 { values.append(.init(name: "texts", type: ValueType(.text, [texts]))) }
  }

  /// Columns of a value.
  public func columns(of value: Int) -> Int { values[value].columns }

  /// Adds a node that writes a new value, whose type follows from the operation and what it reads.
  ///
  /// - Parameters:
  ///   - operation: one that infers the type of its output; ``addDense(name:from:weights:bias:activation:)`` adds
  ///     layers, whose width their weights decide.
  ///   - inputs: indices of the values that it reads.
  /// - Returns: index of the value that it writes.
  /// - Throws: `TrainingError` of kind `fit` that names the node, where the operation refuses what it reads or one of
  ///   its own numbers. Those numbers come from data, so they are no reason to trap.
  /// - Precondition: the operation writes one value.
  @discardableResult
  public mutating func add(
    _ operation: any GraphOperation, name: String, from inputs: Int...
  ) throws(TrainingError) -> Int {
    let graph = ModelGraph(task: .regression, values: values, nodes: nodes, outputs: [], tensors: tensors)
    let node = Node(name: name, inputs: inputs, outputs: [values.count], operation: operation)
    let types: [ValueType]
    do throws(GraphFault) {
      types = try operation.infer(OperationContext(graph: graph, node: node))
    } catch {
      throw .fit("building the model's graph: \(error)")
    }
    precondition(types.count == 1, "\(name): an operation with one output")
    values.append(.init(name: name, type: types[0]))
    nodes.append(node)
    return last
  }

  /// Adds a node whose operation does not tell from its input how many columns it writes.
  ///
  /// - Returns: index of the value that it writes, which is fp32.
  /// - Throws: `TrainingError` as ``add(_:name:from:)``.
  mutating func add(
    _ operation: any GraphOperation, columns: Int, name: String, from input: Int
  ) throws(TrainingError) -> Int {
    let node = Node(name: name, inputs: [input], outputs: [values.count], operation: operation)
    values.append(.init(name: name, columns: columns))
    let graph = ModelGraph(task: .regression, values: values, nodes: nodes, outputs: [], tensors: tensors)
    do throws(GraphFault) {
      _ = try operation.infer(OperationContext(graph: graph, node: node))
    } catch {
      throw .fit("building the model's graph: \(error)")
    }
    nodes.append(node)
    return last
  }

  /// Adds a scaling that changes nothing but the element type of its output, which is f32.
  ///
  /// - Returns: index of the value that it writes.
  /// - Throws: `TrainingError` where the value is neither f32 nor f64.
  @discardableResult
  public mutating func addIdentity(name: String, from input: Int) throws(TrainingError) -> Int {
    let ones = [Float](repeating: 1, count: columns(of: input))
    return try add(Affine(scaling: .standardise, offset: ones.map { _ in 0 }, scale: ones), name: name, from: input)
  }

  /// Adds a fully connected layer: activation(x · weightsᵀ + bias).
  ///
  /// - Parameters:
  ///   - input: index of the value that it reads.
  ///   - weights: [output columns, input columns].
  ///   - bias: one number an output column.
  /// - Returns: index of the value that it writes.
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
    values.append(.init(name: name, columns: weights.rows))
    nodes.append(Node(name: name, input: input, output: last, operation: dense))
    return last
  }

  /// Adds a linear layer of the preprocessed row and of the terms of texts: one layer for each, and their sum.
  ///
  /// A layer of terms takes its mean over the training rows off, as scaling does it for numbers, so that what it answers is
  /// what the text contributes.
  ///
  /// - Parameters:
  ///   - input: index of the value of the preprocessed row.
  ///   - weights: [output columns, columns of the row and then of each text's terms].
  ///   - bias: one number an output column.
  ///   - termMeans: mean of each column of terms over the training rows.
  /// - Returns: index of the value that it writes.
  mutating func addLinear(
    name: String, from input: Int, weights: Matrix, bias: [Float], termMeans: [Double]
  ) throws(TrainingError) -> Int {
    let rowColumns = weights.columns - terms.reduce(0) { $0 + columns(of: $1) }
    precondition(termMeans.count == weights.columns - rowColumns)
    var base = bias.map { Double($0) }
    var parts = terms.map { (value: $0, name: "\(name) of \(values[$0].name)") }
    if rowColumns > 0 { parts.insert((input, name), at: 0) }
    var (sum, first): (Int?, Int) = (nil, 0)
    let firstBias = tensors.count + 1
    for (index, part) in parts.enumerated() {
      let isRow = index == 0 && rowColumns > 0
      let width = isRow ? rowColumns : columns(of: part.value)
      var own = Matrix(rows: weights.rows, columns: width)
      for row in 0..<weights.rows {
        let start = row * weights.columns + first
        own.elements.replaceSubrange(row * width..<(row + 1) * width, with: weights.elements[start..<start + width])
      }
      let means = bias.indices.map { output in
        isRow
          ? 0
          : (0..<width).reduce(0.0) { sum, column in
            sum + Double(own[output, column]) * termMeans[first - rowColumns + column]
          }
      }
      for output in bias.indices { base[output] += means[output] }
      let added = addDense(
        name: part.name, from: part.value, weights: own, bias: means.map { Float(-$0) }, activation: .identity)
      sum = if let sum { try add(Add(), name: "\(name) sum", from: sum, added) } else { added }
      first += width
    }
    guard let sum else { preconditionFailure("a linear layer has columns") }
    if rowColumns > 0 {
      tensors[firstBias].storage = .float32(base.map { Float($0) })
      return sum
    }
    let intercept = Affine(scaling: .standardise, offset: base.map { Float(-$0) }, scale: base.map { _ in 1 })
    return try add(intercept, name: "\(name) intercept", from: sum)
  }

  /// Adds what turns a family's last value into probabilities, where it stands for some.
  ///
  /// - Returns: the value of the probabilities, or of the predicted number.
  /// - Throws: `TrainingError` for scores, which stand for neither.
  mutating func addAnswers(of head: OutputHead, name: String) throws(TrainingError) -> Int {
    switch head {
    case .number(let value), .probabilities(let value): return value
    case .logits(let value): return try add(Softmax(), name: name, from: value)
    case .logOdds(let value): return try add(Softmax(), name: name, from: addLogits(ofOdds: value))
    case .scores: throw .fit("\(name): expected a model that tells probabilities, found one that tells scores")
    }
  }

  /// Logits of two classes: softmax(0, z) is the logistic function of z.
  private mutating func addLogits(ofOdds value: Int) -> Int {
    addDense(
      name: "logits", from: value, weights: Matrix(rows: 2, columns: 1, elements: [0, 1]), bias: [0, 0],
      activation: .identity)
  }

  /// Ends the graph: names what it answers.
  ///
  /// - Parameters:
  ///   - head: how a family's last value is to be read.
  ///   - classCount: number of classes; 0 for regression.
  ///   - raw: value that leaves beside these as the output `raw`; nil: none.
  /// - Returns: a graph with the outputs `probabilities` (or `scores`), `class` and `label`, or `prediction`.
  /// - Throws: `TrainingError` where softmax or the choice of a class does not take the value's type.
  /// - Precondition: the value is as wide as the head says.
  public consuming func finish(
    _ head: OutputHead, classCount: Int, raw: Int? = nil
  ) throws(TrainingError) -> ModelGraph {
    switch head {
    case .number(let value):
      precondition(classCount == 0 && columns(of: value) == 1, "a number is one column")
      return finish(numbers: value, raw: raw)
    case .logOdds(let value):
      precondition(classCount == 2 && columns(of: value) == 1, "log-odds are one column for two classes")
      return try finish(.logits(addLogits(ofOdds: value)), classCount: classCount, raw: raw)
    case .logits(let value):
      let probabilities = try add(Softmax(), name: AnswerNames.probabilities, from: value)
      return try finish(.probabilities(probabilities), classCount: classCount, raw: raw)
    case .probabilities(let value): return try classified(by: value, as: AnswerNames.probabilities, classCount, raw)
    case .scores(let value): return try classified(by: value, as: AnswerNames.scores, classCount, raw)
    }
  }

  private mutating func classified(
    by value: Int, as name: String, _ classCount: Int, _ raw: Int?
  ) throws(TrainingError) -> ModelGraph {
    precondition(classCount >= 2 && columns(of: value) == classCount, "one column for each of \(classCount) classes")
    let index = try add(ArgMax(), name: "class", from: value)
    return graph(
      .classification,
      [
        .init(name: name, value: value, kind: .number),
        .init(name: "class", value: index, kind: .classIndex),
        .init(name: "label", value: index, kind: .classLabel),
      ] + Self.raw(raw))
  }

  /// Ends a graph whose answers are numbers, as many a row as the value has columns.
  ///
  /// - Parameter raw: value that leaves beside it as the output `raw`; nil: none.
  consuming func finish(numbers value: Int, raw: Int? = nil) -> ModelGraph {
    graph(.regression, [.init(name: AnswerNames.number, value: value, kind: .number)] + Self.raw(raw))
  }

  private static func raw(_ value: Int?) -> [ModelGraph.Output] {
    value.map { [.init(name: AnswerNames.raw, value: $0, kind: .number)] } ?? []
  }

  private func graph(_ task: ModelGraph.Task, _ outputs: [ModelGraph.Output]) -> ModelGraph {
    ModelGraph(
      task: task, values: values, nodes: nodes, outputs: outputs, tensors: tensors, textInput: textInput)
  }
}

/// Names of the outputs that a trained graph's numbers leave under. They say what the numbers mean, which the kind
/// of an output does not.
enum AnswerNames {
  static let probabilities = "probabilities"
  static let scores = "scores"
  static let number = "prediction"
  /// Sums of trees before the link function.
  static let raw = "raw"
  /// Vector of a text.
  static let embedding = "embedding"
  /// Kinds and places of entities in a text.
  static let entities = "entities"
  /// Place of an answer in a text.
  static let answer = "answer"
}

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
