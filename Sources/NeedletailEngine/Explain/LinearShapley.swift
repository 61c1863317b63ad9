internal import NeedletailCore

/// Shapley values of one linear layer: weight · (value − mean), exact for features that are independent of each other.
///
/// A standardised number has the mean 0, for its mean was taken off. An indicator of a category has the category's share
/// of the training rows, which the drift baseline holds.
struct LinearShapley: Sendable {
  private let origins: [Int]
  private let players: Int
  /// Outputs × columns.
  private let weights: [Double]
  private let means: [Double]
  private let outputs: Int
  let baseValues: [Double]
  let magnitudes: [Double]
  /// What a served score may differ by from the sum in fp64, as part of the magnitudes: sums in fp32 in another order, or
  /// int8 layers.
  let servedTolerance: Double
  /// The same for a layer of fp32 weights.
  static let servedTolerance = 1e-4

  /// - Parameter node: a ``Dense`` without an activation.
  /// - Throws: the feature whose mean the bundle does not hold.
  init(
    _ definition: ModelDefinition, node: Int, origins: [Int], drift: DriftBaseline?
  ) throws(ExplanationError) {
    let graph = definition.graph
    guard let dense = graph.nodes[node].operation as? Dense, let weights = graph.tensors[dense.weights].floats else {
      preconditionFailure("a checked layer has weights")
    }
    self.origins = origins
    self.weights = weights.map { Double($0) }
    players = definition.schema.features.count
    outputs = graph.values[graph.nodes[node].outputs[0]].columns
    means = try Self.means(definition, input: graph.nodes[node].inputs[0], origins, drift)
    let bias = dense.bias.flatMap { graph.tensors[$0].floats } ?? [Float](repeating: 0, count: outputs)
    var (base, magnitudes) = ([Double](), [Double]())
    for output in 0..<outputs {
      var (sum, magnitude) = (Double(bias[output]), Double(abs(bias[output])))
      for column in means.indices {
        let part = self.weights[output * means.count + column] * means[column]
        sum += part
        magnitude += abs(part)
      }
      base.append(sum)
      magnitudes.append(magnitude)
    }
    baseValues = base
    self.magnitudes = magnitudes
    servedTolerance = graph.tensors[dense.weights].isInt8 ? 0.05 : Self.servedTolerance
  }

  private static func means(
    _ definition: ModelDefinition, input: Int, _ origins: [Int], _ drift: DriftBaseline?
  ) throws(ExplanationError) -> [Double] {
    // Terms of texts do not reach the layer's columns, and would take long.
    let graph = definition.graph.leading(to: input)
    let writer = graph.nodes.first { $0.outputs.contains(input) }
    let affine = writer?.operation as? Affine
    var means = [Double](repeating: 0, count: origins.count)
    for (index, feature) in definition.schema.features.enumerated() {
      let columns = origins.indices.filter { origins[$0] == index }
      if feature.kind == .text, columns.isEmpty { continue }
      let field = "feature \(feature.name.quotedForMessage)"
      guard case .categorical(let categories, _) = feature.kind else {
        guard let affine, affine.scaling == .standardise, !affine.clamp else {
          throw ExplanationError(
            "\(field): expected a standardised column, whose mean the bundle holds, found another; train with "
              + "preprocessing.scale: standardise")
        }
        continue
      }
      guard let known = drift?.features.first(where: { $0.name == feature.name }), known.rows > 0 else {
        throw ExplanationError(
          "\(field): expected the shares of its categories in a drift baseline, found none; train the model again")
      }
      let missing = Int((known.missingRate * Double(known.rows)).rounded())
      guard known.categories.reduce(missing, { $0 + $1.count }) == known.rows else {
        throw ExplanationError(
          "\(field): expected the shares of all its categories in the drift baseline, found the most frequent ones only"
        )
      }
      // Columns of one feature depend on no other: any row with the category tells them.
      for (category, count) in known.categories.map({ ($0.category as String?, $0.count) }) + [(nil, missing)]
      where count > 0 {
        var row = [Double](repeating: 0, count: definition.schema.features.count)
        row[index] =
          category.flatMap { category in
            if let code = categories.firstIndex(of: category) { return Double(code) }
            guard feature.isHashed else { return nil }
            return Double(categories.count + TextBuckets.bucket(of: category, among: feature.buckets))
          } ?? .nan
        let values = graph.reference(row)[input]
        for column in columns { means[column] += values[column] * Double(count) / Double(known.rows) }
      }
    }
    return means
  }

  /// Explains some rows: ``TreeShapley/explain(_:count:values:sums:_:)`` tells the parameters.
  func explain(
    _ rows: UnsafePointer<Double>, count: Int, values: UnsafeMutablePointer<Double>,
    sums: UnsafeMutablePointer<Double>
  ) {
    values.update(repeating: 0, count: count * outputs * players)
    for row in 0..<count {
      for output in 0..<outputs {
        var sum = baseValues[output]
        let own = values + (row * outputs + output) * players
        for column in origins.indices {
          let centred = rows[row * origins.count + column] - means[column]
          let part = weights[output * origins.count + column] * centred
          own[origins[column]] += part
          sum += part
        }
        sums[row * outputs + output] = sum
      }
    }
  }
}

extension ModelGraph {
  /// The graph without the nodes on which a value does not depend.
  fileprivate func leading(to value: Int) -> ModelGraph {
    var needed: Set<Int> = [value]
    var kept: [Node] = []
    for node in nodes.reversed() where node.outputs.contains(where: needed.contains) {
      needed.formUnion(node.inputs)
      kept.append(node)
    }
    var graph = self
    graph.nodes = kept.reversed()
    return graph
  }
}
