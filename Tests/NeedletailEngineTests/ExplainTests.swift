import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

/// A tree as a test knows it: what it answers to a coalition of columns follows from this alone.
private indirect enum TestTree {
  case leaf([Double], cover: Double)
  case split(column: Int, test: Question, missingLeft: Bool, left: TestTree, right: TestTree)

  enum Question {
    case below(Double)
    case member(Set<Int>)
  }

  var cover: Double {
    switch self {
    case .leaf(_, let cover): cover
    case .split(_, _, _, let left, let right): left.cover + right.cover
    }
  }

  /// Expected value where only the columns of a coalition are known: the definition of the game.
  func worth(_ row: [Double], known: Int, place: Int) -> Double {
    switch self {
    case .leaf(let values, _): return values[place]
    case .split(let column, let test, let missingLeft, let left, let right):
      if known >> column & 1 == 1 {
        let x = row[column]
        let goesLeft =
          switch test {
          case _ where x.isNaN: missingLeft
          case .below(let threshold): x < threshold
          case .member(let set): set.contains(Int(x))
          }
        return (goesLeft ? left : right).worth(row, known: known, place: place)
      }
      let share = cover > 0 ? left.cover / cover : 0.5
      return share * left.worth(row, known: known, place: place)
        + (1 - share) * right.worth(row, known: known, place: place)
    }
  }

  /// Appends itself to an ensemble, in preorder.
  func append(to trees: inout TreeEnsemble) {
    switch self {
    case .leaf(let values, let cover):
      trees.nodes.append(0)
      trees.leaves += values
      trees.covers.append(Float(cover))
    case .split(let column, let test, let missingLeft, let left, let right):
      trees.nodes.append(UInt32(column + 1))
      trees.missing.append(missingLeft ? .left : .right)
      switch test {
      case .below(let threshold):
        trees.thresholds.append(threshold)
        trees.sets.append(0)
      case .member(let set):
        trees.thresholds.append(0)
        trees.setWords.append(1)
        trees.setBits.append(set.reduce(0) { $0 | 1 << UInt32($1) })
        trees.sets.append(UInt32(trees.setWords.count))
      }
      left.append(to: &trees)
      right.append(to: &trees)
    }
  }

  /// - Parameter width: values of a leaf.
  static func random(depth: Int, columns: Int, width: Int, _ random: inout some RandomNumberGenerator) -> TestTree {
    if depth == 0 || Int.random(in: 0..<6, using: &random) == 0 {
      return .leaf(
        (0..<width).map { _ in Double.random(in: -1...1, using: &random) },
        cover: Double([0, 0, 1, 3, 10, 200].randomElement(using: &random)!))
    }
    let column = Int.random(in: 0..<columns, using: &random)
    // The last column is one of categories.
    let test: Question =
      column == columns - 1
      ? .member(Set((0..<5).filter { _ in Bool.random(using: &random) }))
      : .below(Double.random(in: -1...1, using: &random))
    return .split(
      column: column, test: test, missingLeft: Bool.random(using: &random),
      left: .random(depth: depth - 1, columns: columns, width: width, &random),
      right: .random(depth: depth - 1, columns: columns, width: width, &random))
  }
}

/// Shapley values by their definition, a sum over all coalitions.
private func shapley(players: Int, _ worth: (Int) -> Double) -> [Double] {
  var factorial = [1.0]
  for number in 1...players { factorial.append(factorial[number - 1] * Double(number)) }
  return (0..<players).map { player in
    var value = 0.0
    for coalition in 0..<(1 << players) where coalition >> player & 1 == 0 {
      let size = coalition.nonzeroBitCount
      let weight = factorial[size] * factorial[players - size - 1] / factorial[players]
      value += weight * (worth(coalition | 1 << player) - worth(coalition))
    }
    return value
  }
}

@Suite struct ExplainTests {
  private func definition(_ trees: TreeEnsemble, columns: Int, outputs: Int) -> ModelDefinition {
    ModelDefinition(
      schema: FeatureSchema(
        features: (0..<columns).map { Feature(name: "x\($0)", kind: .numeric, missing: .impute) }, target: "y"),
      graph: ModelGraph(
        task: .regression,
        values: [
          .init(name: "input", type: ValueType(.float64, [columns])), .init(name: "trees", columns: outputs),
        ],
        nodes: [Node(name: "trees", input: 0, output: 1, operation: trees)],
        outputs: [.init(name: "prediction", value: 1, kind: .number)], tensors: []), labels: [])
  }

  @Test(arguments: [(1, 1), (2, 1), (3, 3)])
  func contributionsAreTheSumOverAllCoalitions(outputs: Int, width: Int) throws {
    var random = SplitMix64(seed: UInt64(outputs))
    for round in 0..<40 {
      let columns = Int.random(in: 2...7, using: &random)
      let count = width == 1 ? 2 * outputs : 3
      let tests = (0..<count).map { _ in
        TestTree.random(
          depth: Int.random(in: 0...6, using: &random), columns: columns, width: width, &random)
      }
      var trees = TreeEnsemble(comparison: .below, sums: .float64, nodes: [], thresholds: [], leaves: [])
      for tree in tests { tree.append(to: &trees) }
      trees.leafWidth = width
      if width == 1 { trees.treeOutputs = (0..<count).map { UInt32($0 % outputs) } }
      trees.start = (0..<outputs).map { 0.25 * Double($0) }
      trees.bias = (0..<outputs).map { Double($0) - 0.5 }
      trees.divisor = round % 2 == 0 ? 1 : Double(count)
      let explainer = try ModelExplainer(definition(trees, columns: columns, outputs: outputs))
      let rows = (0..<5).map { _ in
        (0..<columns).map { column in
          Int.random(in: 0..<8, using: &random) == 0
            ? .nan
            : column == columns - 1
              ? Double(Int.random(in: 0..<6, using: &random)) : Double.random(in: -1...1, using: &random)
        }
      }
      let found = try explainer.explain(rows.map { $0.map { $0.isNaN ? .missing : .number($0) } }, threads: 2)
      for (index, row) in rows.enumerated() {
        for output in 0..<outputs {
          func worth(_ known: Int) -> Double {
            var sum = trees.start[output]
            for (number, tree) in tests.enumerated() where width > 1 || number % outputs == output {
              sum += tree.worth(row, known: known, place: width > 1 ? output : 0)
            }
            return sum / trees.divisor + trees.bias[output]
          }
          let expected = shapley(players: columns, worth)
          let first = (index * outputs + output) * columns
          for column in 0..<columns {
            #expect(abs(found.contributions[first + column] - expected[column]) < 1e-12, "round \(round)")
          }
          #expect(abs(explainer.baseValues[output] - worth(0)) < 1e-12)
          #expect(abs(found.scores[index * outputs + output] - worth(1 << columns - 1)) < 1e-6)
        }
      }
    }
  }

  /// A tree of 1,024 levels, each with a column of its own, and one with a single column.
  @Test(arguments: [1, 1024])
  func theDeepestTreesAddUp(columns: Int) throws {
    var tree = TestTree.leaf([1], cover: 1)
    for level in 0..<1024 {
      let column = level % columns
      tree = .split(
        column: column, test: .below(Double(level % 7) / 7), missingLeft: true, left: tree,
        right: .leaf([Double(level % 5) - 2], cover: Double(level % 3 + 1)))
    }
    var trees = TreeEnsemble(comparison: .below, sums: .float64, nodes: [], thresholds: [], leaves: [])
    tree.append(to: &trees)
    trees.sets = []
    let explainer = try ModelExplainer(definition(trees, columns: columns, outputs: 1))
    let row = (0..<columns).map { Double($0 % 11) / 11 }
    let found = try explainer.explain([row.map { .number($0) }])
    let all = tree.worthOfAll(row)
    #expect(abs(explainer.baseValues[0] + found.contributions.reduce(0, +) - all) < 1e-9)
    #expect(found.contributions.allSatisfy { $0.isFinite })
  }

  @Test func theSameRowsGiveTheSameBitsOnAnyNumberOfThreads() throws {
    var random = SplitMix64(seed: 3)
    var trees = TreeEnsemble(comparison: .below, sums: .float64, nodes: [], thresholds: [], leaves: [])
    for _ in 0..<5 { TestTree.random(depth: 5, columns: 4, width: 1, &random).append(to: &trees) }
    let explainer = try ModelExplainer(definition(trees, columns: 4, outputs: 1))
    let rows = (0..<300).map { _ in (0..<4).map { _ in Cell.number(Double.random(in: 0...1, using: &random)) } }
    let one = try explainer.explain(rows)
    let four = try explainer.explain(rows, threads: 4)
    #expect(one.contributions == four.contributions && one.scores == four.scores)
    #expect(try explainer.explain([rows[250]]).contributions == Array(one.contributions[1000..<1004]))
  }

  /// colour (three indicators) and size, of which the trees ask about both.
  @Test func indicatorsCountForTheFeatureThatTheyWereMadeOf() throws {
    // red = 1: then size < 2: 1 or 4, else green = 1: 3 or 2.
    var trees = TreeEnsemble(
      comparison: .below, sums: .float32, nodes: [1, 2, 0, 0, 4, 0, 0], thresholds: [0.5, 0.5, 2],
      leaves: [2, 3, 1, 4])
    trees.covers = [1, 1, 1, 1]
    var definition = definition(trees, columns: 2, outputs: 1)
    definition.schema.features[0] = Feature(
      name: "colour", kind: .categorical(categories: ["red", "green", "blue"], unknown: .zeros), missing: .impute)
    definition.graph.values = [
      .init(name: "input", columns: 2), .init(name: "indicators", columns: 4), .init(name: "trees", columns: 1),
    ]
    definition.graph.nodes = [
      Node(name: "one_hot", input: 0, output: 1, operation: OneHot(widths: [3, 0])),
      Node(name: "trees", input: 1, output: 2, operation: trees),
    ]
    definition.graph.outputs[0].value = 2
    let explainer = try ModelExplainer(definition)
    let found = try explainer.explain([[.text("green"), .number(7)]])
    // Columns red, green and size on their own, by the sum over coalitions of the three.
    let tree = TestTree.split(
      column: 0, test: .below(0.5), missingLeft: true,
      left: .split(
        column: 1, test: .below(0.5), missingLeft: true, left: .leaf([2], cover: 1), right: .leaf([3], cover: 1)),
      right: .split(
        column: 2, test: .below(2), missingLeft: true, left: .leaf([1], cover: 1), right: .leaf([4], cover: 1)))
    let parts = shapley(players: 3) { tree.worth([0, 1, 7], known: $0, place: 0) }
    #expect(explainer.features == ["colour", "x1"])
    #expect(abs(found.contributions[0] - (parts[0] + parts[1])) < 1e-12)
    #expect(abs(found.contributions[1] - parts[2]) < 1e-12)
    #expect(explainer.baseValues == [2.5])
    #expect(found.scores == [3])
  }

  // MARK: - linear models

  @Test func aLinearModelIsExplainedAroundTheMeanOfItsTrainingRows() throws {
    let definition = linear()
    let explainer = try ModelExplainer(definition, drift: drift())
    let found = try explainer.explain([[.number(9), .text("b")], [.missing, .text("a")]])
    // Scaled (9 − 5) · 0.5 = 2 by weight 3, about 0; b − share of b by −4, and 0 − share of a by 1.
    let expected = [6, -4 * 0.75 - 0.25, 0, 0.75 + 4 * 0.25]
    for (value, wanted) in zip(found.contributions, expected) { #expect(abs(value - wanted) < 1e-6) }
    #expect(abs(explainer.baseValues[0] - (10 + 0.25 - 4 * 0.25)) < 1e-6)
    #expect(zip(found.scores, [12, 11]).allSatisfy { abs($0 - $1) < 1e-5 })
  }

  /// 10 + 3 · (x − 5) / 2 + (1, −4, 0) of a, b, c.
  private func linear(scaling: Affine.Scaling = .standardise) -> ModelDefinition {
    ModelDefinition(
      schema: FeatureSchema(
        features: [
          Feature(name: "x", kind: .numeric, missing: .impute),
          Feature(
            name: "kind", kind: .categorical(categories: ["a", "b", "c"], unknown: .zeros), missing: .impute),
        ], target: "y"),
      graph: ModelGraph(
        task: .regression,
        values: [
          .init(name: "input", columns: 2), .init(name: "filled", columns: 2), .init(name: "wide", columns: 4),
          .init(name: "scaled", columns: 4), .init(name: "linear", columns: 1),
        ],
        nodes: [
          Node(name: "impute", input: 0, output: 1, operation: Impute(fill: [5, 0])),
          Node(name: "one_hot", input: 1, output: 2, operation: OneHot(widths: [0, 3])),
          Node(
            name: "scale", input: 2, output: 3,
            operation: Affine(scaling: scaling, offset: [5, 0, 0, 0], scale: [0.5, 1, 1, 1])),
          Node(
            name: "linear", input: 3, output: 4, operation: Dense(weights: 0, bias: 1, activation: .identity)),
        ],
        outputs: [.init(name: "prediction", value: 4, kind: .number)],
        tensors: [
          WeightTensor(name: "w", shape: [1, 4], storage: .float32([3, 1, -4, 0])),
          WeightTensor(name: "b", shape: [1], storage: .float32([10])),
        ]), labels: [])
  }

  /// One a (missing, which counts as a), one b, two c in four rows.
  private func drift(_ categories: [(category: String, count: Int)] = [("c", 2), ("b", 1)]) -> DriftBaseline {
    DriftBaseline(
      features: [
        .init(name: "x", rows: 4, missingRate: 0),
        .init(name: "kind", rows: 4, missingRate: 0.25, categories: categories),
      ], prediction: .init(name: "prediction", rows: 4, missingRate: 0))
  }

  // MARK: - refusals

  private func refusal(_ definition: ModelDefinition, _ drift: DriftBaseline? = nil) -> String {
    (#expect(throws: ExplanationError.self) { try ModelExplainer(definition, drift: drift) })?.message ?? ""
  }

  @Test func whatCannotBeExplainedSaysWhyAndWhatToDo() throws {
    let trees = TreeEnsemble(
      comparison: .below, sums: .float32, nodes: [1, 0, 0], thresholds: [0.5], leaves: [1, 2])
    #expect(refusal(definition(trees, columns: 1, outputs: 1)).contains("import or train the model again"))
    #expect(refusal(linear()).hasPrefix("feature \"kind\": expected the shares of its categories"))
    #expect(refusal(linear(), drift([("c", 2)])).contains("found the most frequent ones only"))
    #expect(
      refusal(linear(scaling: .minMax), drift()).hasSuffix("train with preprocessing.scale: standardise"))
    #expect(refusal(ModelFixtures.mlp(widths: [4, 8, 1])).contains("expected trees or one linear layer, found"))
  }

  @Test func columnsOfSeveralFeaturesAreRefused() throws {
    var trees = TreeEnsemble(
      comparison: .below, sums: .float32, nodes: [1, 0, 0], thresholds: [0.5], leaves: [1, 2])
    trees.covers = [1, 1]
    var mixed = definition(trees, columns: 2, outputs: 1)
    mixed.graph.values = [
      .init(name: "input", columns: 2), .init(name: "mix", columns: 1), .init(name: "trees", columns: 1),
    ]
    mixed.graph.nodes = [
      Node(name: "mix", input: 0, output: 1, operation: Dense(weights: 0, bias: nil, activation: .identity)),
      Node(name: "trees", input: 1, output: 2, operation: trees),
    ]
    mixed.graph.tensors = [WeightTensor(name: "w", shape: [1, 2], storage: .float32([1, 1]))]
    mixed.graph.outputs[0].value = 2
    #expect(
      refusal(mixed)
        == "value \"mix\", column 0: expected a column of one feature, found one of several, whose parts cannot be told"
    )
  }

  @Test func aRowThatTheSchemaRefusesIsNamed() throws {
    let explainer = try ModelExplainer(linear(), drift: drift())
    let error = #expect(throws: ExplanationError.self) {
      try explainer.explain([[.number(1), .text("a")], [.number(.infinity), .text("a")]], firstRow: 1)
    }
    #expect(error?.message.contains("row 2") ?? false)
  }

  @Test(arguments: [1, 2, 3, 8, 64, 512])
  func quadratureIsExactForPolynomials(points: Int) {
    for degree in [0, 1, 2 * points - 1] {
      let integral = GaussRule(points: points).withPoints { t, _, weights, vectors in
        (0..<vectors).reduce(0.0) { sum, vector in
          sum
            + (0..<4).reduce(0.0) { sum, lane in
              var power = weights[vector][lane]
              for _ in 0..<degree { power *= t[vector][lane] }
              return sum + power
            }
        }
      }
      #expect(abs(integral * Double(degree + 1) - 1) < 1e-12)
    }
  }
}

extension TestTree {
  /// The answer of a deep tree, without recursion.
  fileprivate func worthOfAll(_ row: [Double]) -> Double {
    var tree = self
    while case .split(let column, .below(let threshold), _, let left, let right) = tree {
      tree = row[column] < threshold ? left : right
    }
    guard case .leaf(let values, _) = tree else { return .nan }
    return values[0]
  }
}
