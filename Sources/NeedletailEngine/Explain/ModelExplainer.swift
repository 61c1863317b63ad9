public import NeedletailCore
internal import NeedletailSystem
internal import Synchronization

/// Why a model, or a row of it, cannot be explained, in one sentence.
public struct ExplanationError: Error, Equatable, Sendable, CustomStringConvertible {
  public let message: String
  public init(_ message: String) { self.message = message }
  public var description: String { message }
}

/// What each feature contributed to the answers for some rows.
public struct Explanation: Sendable {
  /// Rows × outputs × features, in fp64.
  public let contributions: [Double]
  /// Rows × outputs: the scores that the contributions and the base value add up to, as a server computes them.
  public let scores: [Double]
}

/// Explains the answers of models of trees and of linear models by Shapley values: exact, and without other rows to
/// compare with.
///
/// Contributions are those to the raw score, before a link function: log-odds of two classes, the score of each of
/// several, the number itself of most regressions. With ``baseValues``, the mean over the training rows, they add up to
/// it. Columns that preprocessing makes of one feature count for that feature, and all terms of a text for the text.
public final class ModelExplainer: Sendable {
  private enum Method: Sendable {
    case trees(TreeShapley)
    case linear(LinearShapley)
    /// Nothing beside the texts: the score of each output with the mean of them.
    case constant([Double])
  }

  /// Where the columns come from that the method reads.
  private enum Source: Sendable {
    /// Nothing is read.
    case none
    /// The bound row itself.
    case row
    /// An output of the plan, in fp32.
    case output(Int)
    /// A value in fp64, which nodes compute without rounding.
    case value(Int)
  }

  public let features: [String]
  /// Names of the scores that are explained: class labels, or the target.
  public let outputs: [String]
  /// Score of each output that the contributions start from.
  public let baseValues: [Double]
  private let method: Method
  /// Layers of texts, whose answers follow the score, and the columns where they are an output.
  let texts: TermLayers?
  private let source: Source
  private let columns: Int
  let graph: ModelGraph
  private let binder: FeatureBinder
  private let plan: Plan

  /// - Parameters:
  ///   - definition: with the trees themselves.
  ///   - drift: distribution of the training rows, by which indicators of a linear model are centred.
  /// - Throws: why the model cannot be explained, and what to do about it.
  public init(_ definition: ModelDefinition, drift: DriftBaseline? = nil) throws(ExplanationError) {
    do throws(GraphFault) {
      try definition.check()
    } catch {
      throw ExplanationError(error.message)
    }
    let graph = definition.graph
    let texts = graph.textInput == nil ? nil : try TermLayers(graph, definition.schema)
    self.texts = texts
    features = definition.schema.features.map(\.name)
    let node: Int? = if let texts { texts.rowLayer } else { try Self.explainedNode(of: graph) }
    guard let score = texts?.score ?? node.map({ graph.nodes[$0].outputs[0] }) else {
      preconditionFailure("a model without texts has a node that is explained")
    }
    var explained = graph
    explained.task = .regression
    explained.outputs = [.init(name: "score", value: score, kind: .number)]
    let outputCount = graph.values[score].columns
    outputs = Self.names(definition, outputs: outputCount)
    if let node {
      let input = graph.nodes[node].inputs[0]
      let type = graph.values[input].type
      let origins = try Self.origins(of: input, in: graph, definition.schema)
      columns = type.columns
      if let trees = graph.nodes[node].operation as? TreeEnsemble {
        guard !trees.covers.isEmpty else {
          throw ExplanationError(
            "trees: expected the weight of the training rows in each leaf (covers), found none, for the bundle was "
              + "written before format 1.3, or by a library that does not tell; import or train the model again")
        }
        let shapley = TreeShapley(trees, outputs: outputCount, playerOfColumn: origins, players: features.count)
        method = .trees(shapley)
        baseValues = shapley.baseValues
      } else {
        let shapley = try LinearShapley(definition, node: node, origins: origins, drift: drift)
        method = .linear(shapley)
        baseValues = shapley.baseValues
      }
      if input == 0 {
        source = .row
      } else if type.element == .float32 {
        source = .output(1)
        explained.outputs.append(.init(name: "columns", value: input, kind: .number))
      } else {
        source = .value(input)
      }
    } else {
      columns = 0
      source = .none
      baseValues = texts?.constants ?? []
      method = .constant(baseValues)
    }
    for (index, part) in (texts?.parts ?? []).enumerated() {
      explained.outputs.append(.init(name: "text\(index)", value: part.value, kind: .number))
    }
    self.graph = graph
    do throws(PlanError) {
      binder = try FeatureBinder(definition.schema, element: graph.values[0].type.element)
      plan = try Plan(explained)
    } catch {
      throw ExplanationError("compiling the model: \(error)")
    }
  }

  /// The trees, or the only layer.
  private static func explainedNode(of graph: ModelGraph) throws(ExplanationError) -> Int {
    let trees = graph.nodes.indices.filter { graph.nodes[$0].operation is TreeEnsemble }
    guard trees.count <= 1 else {
      throw ExplanationError(
        "graph: expected one node of trees, found \(trees.count), which together are not explained")
    }
    if let node = trees.first { return node }
    if graph.nodes.contains(where: { $0.operation is LinearTrees }) {
      throw ExplanationError(
        "graph: expected trees whose leaves are numbers, found linear leaves, for which no library defines contributions"
      )
    }
    let layers = graph.nodes.indices.filter { graph.nodes[$0].operation is Dense }
    guard layers.count == 1, let dense = graph.nodes[layers[0]].operation as? Dense, dense.activation == .identity
    else {
      throw ExplanationError(
        "graph: expected trees or one linear layer, found \(layers.count == 1 ? "a layer with an activation" : "\(layers.count) layers"); a network has no exact explanation that takes less than 2 to the power of its features"
      )
    }
    return layers[0]
  }

  /// The feature behind each column of a value.
  private static func origins(
    of value: Int, in graph: ModelGraph, _ schema: FeatureSchema
  ) throws(ExplanationError) -> [Int] {
    var origins = [[Int]](repeating: [], count: graph.values.count)
    origins[0] = Array(schema.features.indices)
    // Terms and what is made of them lead to no row of numbers.
    for node in graph.nodes where node.outputs.count == 1 && node.inputs.allSatisfy({ !origins[$0].isEmpty }) {
      let columns = graph.values[node.outputs[0]].columns
      let context = OperationContext(graph: graph, node: node)
      origins[node.outputs[0]] =
        node.operation.origins(of: node.inputs.map { origins[$0] }, context) ?? [Int](repeating: -1, count: columns)
    }
    if let column = origins[value].firstIndex(of: -1) {
      throw ExplanationError(
        "value \(graph.values[value].name.quotedForMessage), column \(column): expected a column of one feature, found "
          + "one of several, whose parts cannot be told")
    }
    return origins[value]
  }

  private static func names(_ definition: ModelDefinition, outputs: Int) -> [String] {
    if definition.labels.count == outputs { return definition.labels }
    // One score for two classes is that of the second.
    if outputs == 1, definition.labels.count == 2 { return [definition.labels[1]] }
    let target = definition.schema.target.isEmpty ? "score" : definition.schema.target
    return outputs == 1 ? [target] : (0..<outputs).map { "\(target) \($0)" }
  }

  /// Rows that one call should explain at most, so that contributions of a wide model do not take all memory.
  public var rowsMax: Int {
    let perRow = max(1, outputs.count * features.count)
    return min(16_384, max(TreeShapley.blockRows, (1 << 23) / perRow))
  }

  /// Explains rows.
  ///
  /// - Parameters:
  ///   - rows: one cell per feature, in schema order.
  ///   - firstRow: number of the first one in messages.
  ///   - threads: threads that share the work.
  ///   - progress: hears how many rows are done, on the caller's thread.
  /// - Throws: the row that the schema refuses; that contributions do not add up to the score, which is a fault here.
  public func explain(
    _ rows: [[Cell]], firstRow: Int = 0, threads: Int = 1, progress: (Int) -> Void = { _ in }
  ) throws(ExplanationError) -> Explanation {
    var inputs: [Double] = []
    inputs.reserveCapacity(rows.count * columns)
    var scores: [Double] = []
    var textParts: [Double] = []
    try evaluate(rows, firstRow: firstRow, &inputs, &scores, &textParts)
    let width = outputs.count * features.count
    let values = UnsafeMutableBufferPointer<Double>.allocate(capacity: rows.count * width)
    let sums = UnsafeMutableBufferPointer<Double>.allocate(capacity: rows.count * outputs.count)
    defer {
      values.deallocate()
      sums.deallocate()
    }
    inputs.withUnsafeBufferPointer { inputs in
      let job = Job(rowCount: rows.count, inputs: inputs, values: values, sums: sums)
      let helpers = (1..<max(1, threads)).map { _ in NativeThread.start(name: "explain") { self.work(job) { _ in } } }
      work(job, progress: progress)
      for helper in helpers { helper.join() }
    }
    add(textParts, rows: rows.count, to: values, sums)
    try check(values, sums, scores, firstRow: firstRow)
    return Explanation(contributions: Array(values), scores: scores)
  }

  /// Columns that the method reads, the scores as a server computes them, and the answers of the layers of texts: rows ×
  /// texts × outputs.
  private func evaluate(
    _ rows: [[Cell]], firstRow: Int, _ inputs: inout [Double], _ scores: inout [Double], _ textParts: inout [Double]
  ) throws(ExplanationError) {
    let workspace: Workspace
    do throws(PlanError) { workspace = try Workspace(plan) } catch { throw ExplanationError(error.message) }
    let isDouble = plan.input.element == .float64
    let textCount = texts?.parts.count ?? 0
    let firstText = plan.outputs.count - textCount
    var start = 0
    while start < rows.count {
      let count: Int
      do throws(ServingError) {
        count = try binder.bind(
          rows: rows.count - start, from: firstRow + start, for: plan, into: workspace.rows
        ) { rows[$0 - firstRow] }
      } catch {
        throw ExplanationError(error.message)
      }
      plan.run(workspace, rows: count)
      for row in 0..<count {
        let item = workspace.input + row * plan.inputItemBytes
        let bound = (0..<plan.inputColumns).map { column in
          isDouble
            ? item.load(fromByteOffset: 8 * column, as: Double.self)
            : Double(item.load(fromByteOffset: 4 * column, as: Float.self))
        }
        switch source {
        case .none: break
        case .row: inputs += bound
        case .value(let value): inputs += graph.reference(bound)[value]
        case .output(let output):
          let values = workspace.output(output) + row * columns
          for column in 0..<columns { inputs.append(Double(values[column])) }
        }
        let score = workspace.output(0) + row * outputs.count
        for output in outputs.indices { scores.append(Double(score[output])) }
        for text in 0..<textCount {
          let values = workspace.output(firstText + text) + row * outputs.count
          for output in outputs.indices { textParts.append(Double(values[output])) }
        }
      }
      start += count
    }
  }

  /// Adds what texts contribute.
  private func add(
    _ textParts: [Double], rows: Int, to values: UnsafeMutableBufferPointer<Double>,
    _ sums: UnsafeMutableBufferPointer<Double>
  ) {
    guard let texts else { return }
    var place = 0
    for row in 0..<rows {
      for part in texts.parts {
        for output in outputs.indices {
          let index = row * outputs.count + output
          values[index * features.count + part.feature] += textParts[place]
          sums[index] += textParts[place]
          place += 1
        }
      }
    }
  }

  /// Rows that threads share, a block at a time.
  ///
  /// Unchecked: a block is claimed by one thread, which alone writes its part of the arrays.
  private final class Job: @unchecked Sendable {
    let rowCount: Int
    let inputs: UnsafeBufferPointer<Double>
    let values: UnsafeMutableBufferPointer<Double>
    let sums: UnsafeMutableBufferPointer<Double>
    let next = Atomic(0)
    let done = Atomic(0)

    init(
      rowCount: Int, inputs: UnsafeBufferPointer<Double>, values: UnsafeMutableBufferPointer<Double>,
      sums: UnsafeMutableBufferPointer<Double>
    ) {
      self.rowCount = rowCount
      self.inputs = inputs
      self.values = values
      self.sums = sums
    }
  }

  private func work(_ job: Job, progress: (Int) -> Void) {
    guard let inputs = job.inputs.baseAddress, let values = job.values.baseAddress, let sums = job.sums.baseAddress
    else { return }
    let block = TreeShapley.blockRows
    func run(_ explain: (Int, Int) -> Void) {
      while true {
        let start = job.next.wrappingAdd(block, ordering: .relaxed).oldValue
        guard start < job.rowCount else { return }
        let count = min(block, job.rowCount - start)
        explain(start, count)
        progress(job.done.wrappingAdd(count, ordering: .relaxed).newValue)
      }
    }
    let width = outputs.count * features.count
    switch method {
    case .trees(let trees):
      let scratch = TreeShapley.Scratch(for: trees)
      run { start, count in
        trees.explain(
          inputs + start * columns, count: count, values: values + start * width, sums: sums + start * outputs.count,
          scratch)
      }
    case .linear(let linear):
      run { start, count in
        linear.explain(
          inputs + start * columns, count: count, values: values + start * width, sums: sums + start * outputs.count)
      }
    case .constant(let base):
      run { start, count in
        (values + start * width).update(repeating: 0, count: count * width)
        for index in 0..<count * base.count { sums[start * base.count + index] = base[index % base.count] }
      }
    }
  }

  // MARK: - efficiency

  /// Contributions add up to the score: exactly but for rounding in fp64, and to the served one but for rounding in its
  /// type. Shapley's axiom holds for right values only, so that it checks them on every row.
  private func check(
    _ values: UnsafeMutableBufferPointer<Double>, _ sums: UnsafeMutableBufferPointer<Double>, _ scores: [Double],
    firstRow: Int
  ) throws(ExplanationError) {
    let (magnitudes, servedTolerance) =
      switch method {
      case .trees(let trees): (trees.magnitudes, trees.servedTolerance)
      case .linear(let linear): (linear.magnitudes, linear.servedTolerance)
      case .constant(let base): (base.map { abs($0) }, LinearShapley.servedTolerance)
      }
    for index in scores.indices {
      let output = index % outputs.count
      let first = index * features.count
      var sum = baseValues[output]
      var magnitude = magnitudes[output]
      for feature in 0..<features.count {
        sum += values[first + feature]
        magnitude += abs(values[first + feature])
      }
      let isWhole = abs(sum - sums[index]) <= 1e-9 * magnitude
      guard isWhole, abs(sum - scores[index]) <= servedTolerance * magnitude else {
        throw ExplanationError(
          "row \(firstRow + index / outputs.count), output \(outputs[output].quotedForMessage): expected contributions "
            + "that add up to the score \(scores[index]), found \(sum); this is a fault of the program, please report it"
        )
      }
    }
  }
}
