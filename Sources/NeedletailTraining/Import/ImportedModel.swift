internal import Glibc
internal import NeedletailCore
package import NeedletailEngine

/// What a foreign model file says, in this product's terms: features, trees, and what becomes of their sums.
package struct ImportedModel {
  /// What turns the sums of the trees into answers.
  enum Link: Equatable {
    /// The sum is the predicted number.
    case identity
    /// exp of the sum is the predicted number.
    case exponential
    /// log(1 + exp(sum)) is the predicted number.
    case softplus
    /// sum · |sum| is the predicted number.
    case signedSquare
    /// The logistic function of factor × sum is a predicted number between 0 and 1.
    case logistic(factor: Float)
    /// The logistic function of factor × sum is the probability of the second class.
    case binary(factor: Float)
    /// The second class where the sum is above 0; nothing is said about probabilities.
    case sign
    /// Softmax of the sums are the probabilities.
    case softmax
    /// The logistic function of factor × sum, each class for itself.
    case oneVersusAll(factor: Float)
    /// The sums are the probabilities.
    case probabilities

    var isClassification: Bool {
      switch self {
      case .identity, .exponential, .softplus, .signedSquare, .logistic: false
      case .binary, .sign, .softmax, .oneVersusAll, .probabilities: true
      }
    }
  }

  /// What leaves answer beside their values, in the order of the leaves in the ensemble: a constant and terms, each of a
  /// column and a coefficient.
  struct LinearLeaves: Equatable {
    var constants: [Double] = []
    var termCounts: [UInt32] = []
    var termColumns: [UInt32] = []
    var coefficients: [Double] = []
  }

  /// Library and version that wrote the file: `XGBoost 2.1.4`.
  var source: String
  /// Objective in the library's words.
  var objective: String
  var features: [Feature]
  /// Type in which the library compares features with thresholds.
  var element: ValueType.Element
  var ensemble: TreeEnsemble
  /// Terms of the leaves, where those are linear.
  var linearLeaves: LinearLeaves?
  /// Sums that the trees add up to: one, or one for each class or target.
  var outputs: Int
  var link: Link
  /// Class labels that the file knows; none: their numbers from 0.
  var labels: [String] = []
  /// Sentences about decisions that the user may want to know.
  var notes: [String] = []

  /// Number of trees.
  var treeCount: Int {
    var trees = 0
    // Subtrees that are still to come of the tree at hand.
    var open = 0
    for node in ensemble.nodes {
      if open == 0 { (trees, open) = (trees + 1, 1) }
      open += node == 0 ? -1 : 1
    }
    return trees
  }

  var classCount: Int {
    guard link.isClassification else { return 0 }
    return outputs == 1 ? 2 : outputs
  }

  /// Schema, graph and labels.
  ///
  /// - Parameters:
  ///   - labels: one for each class; none: those of the file.
  ///   - target: name of what is predicted.
  /// - Throws: `TrainingError` where labels are not as many as classes, or the graph refuses a number.
  package func definition(labels: [String], target: String) throws(TrainingError) -> ModelDefinition {
    try checkLink()
    let given = labels.isEmpty ? self.labels : labels
    guard given.isEmpty || given.count == classCount else {
      throw .importing(
        classCount == 0
          ? "labels: expected none for \(objective), which predicts numbers, found \(given.count)"
          : "labels: expected \(classCount), one for each class, found \(given.count)")
    }
    var builder = GraphBuilder(inputColumns: features.count, element: element)
    let sums: Int
    if let linearLeaves {
      let trees = LinearTrees(
        trees: ensemble, constants: linearLeaves.constants, termCounts: linearLeaves.termCounts,
        termColumns: linearLeaves.termColumns, coefficients: linearLeaves.coefficients)
      sums = try builder.add(trees, columns: outputs, name: "trees", from: 0)
    } else {
      sums = try builder.add(ensemble, columns: outputs, name: "trees", from: 0)
    }
    let graph: ModelGraph
    switch link {
    case .identity: graph = builder.finish(numbers: sums)
    case .exponential:
      let powers = try builder.add(Exp(), name: "exp", from: sums)
      graph = builder.finish(numbers: powers, raw: sums)
    case .softplus:
      let intensities = try builder.add(Softplus(), name: "softplus", from: sums)
      graph = builder.finish(numbers: intensities, raw: sums)
    case .signedSquare:
      let squares = try builder.add(SignedSquare(), name: "square", from: sums)
      graph = builder.finish(numbers: squares, raw: sums)
    case .logistic(let factor):
      let scaled = try builder.scale(sums, by: factor)
      let shares = try builder.add(Sigmoid(), name: "logistic", from: scaled)
      graph = builder.finish(numbers: shares, raw: sums)
    case .binary(let factor):
      let scaled = try builder.scale(sums, by: factor)
      graph = try builder.finish(.logOdds(scaled), classCount: 2, raw: sums)
    case .sign:
      // The first of two equal scores wins, as class 0 does in the library for a sum of 0.
      let both = builder.addDense(
        name: "scores", from: sums, weights: Matrix(rows: 2, columns: 1, elements: [0, 1]), bias: [0, 0],
        activation: .identity)
      graph = try builder.finish(.scores(both), classCount: 2, raw: sums)
    case .softmax: graph = try builder.finish(.logits(sums), classCount: outputs, raw: sums)
    case .oneVersusAll(let factor):
      let scaled = try builder.scale(sums, by: factor)
      let each = try builder.add(Sigmoid(), name: AnswerNames.probabilities, from: scaled)
      graph = try builder.finish(.probabilities(each), classCount: outputs, raw: sums)
    case .probabilities: graph = try builder.finish(.probabilities(sums), classCount: outputs)
    }
    let names = given.isEmpty ? (0..<classCount).map { String($0) } : given.map { ValueText.normalised($0) }
    let schema = FeatureSchema(
      features: features.map(\.normalised), target: ValueText.normalised(target), rules: ValueRules())
    if let fault = schema.ruleFault { throw .importing(fault) }
    return ModelDefinition(schema: schema, graph: graph, labels: names)
  }
}

extension ImportedModel {
  /// Refuses a link for another number of sums than the file has.
  private func checkLink() throws(TrainingError) {
    let expected: String
    switch link {
    case .identity, .exponential, .softplus, .signedSquare, .logistic: return
    case .binary, .sign:
      if outputs == 1 { return }
      expected = "one sum"
    case .softmax, .oneVersusAll, .probabilities:
      if outputs >= 2 { return }
      expected = "two sums or more"
    }
    throw .importing("expected \(expected) for \(objective), found \(outputs)")
  }
}

extension Feature {
  /// With its name and categories as text is compared: [V2] of `proto/README.md`.
  fileprivate var normalised: Feature {
    var feature = self
    feature.name = ValueText.normalised(name)
    if case .categorical(let categories, let unknown) = kind {
      feature.kind = .categorical(categories: categories.map { ValueText.normalised($0) }, unknown: unknown)
    }
    return feature
  }
}

extension TreeModel {
  /// ``ensemble()``, whose errors are those of an import.
  func imported() throws(TrainingError) -> TreeEnsemble {
    do throws(TreeModelError) {
      return try ensemble()
    } catch {
      throw .importing(error.description)
    }
  }
}

extension GraphBuilder {
  /// Adds x · factor; nothing where it changes nothing.
  ///
  /// - Returns: index of the value that it writes.
  fileprivate mutating func scale(_ value: Int, by factor: Float) throws(TrainingError) -> Int {
    guard factor != 1 else { return value }
    let columns = columns(of: value)
    return try add(
      Affine(
        scaling: .standardise, offset: [Float](repeating: 0, count: columns),
        scale: [Float](repeating: factor, count: columns)),
      name: "scaled", from: value)
  }
}
