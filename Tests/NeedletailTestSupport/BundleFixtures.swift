public import NeedletailBundle
internal import NeedletailCore
public import NeedletailEngine

/// Small models and the bundles around them.
public enum BundleFixtures {
  public static let modelName = "wine"

  /// The same key in every run; trusted by `trust`.
  public static let key = SigningKey(seed: [UInt8](repeating: 7, count: 32))
  /// A key that nobody trusts.
  public static let strangersKey = SigningKey(seed: [UInt8](repeating: 8, count: 32))
  /// Trusts `key` for all models.
  public static let trust = TrustPolicy(keys: [TrustedKey(name: "release", publicKey: key.publicKey)])

  /// A classifier of two numeric features and a categorical one into three labels: impute, one-hot,
  /// standardise, dense int8, dense fp32, softmax, arg max.
  ///
  /// - Parameter seed: other weights for another seed, so that versions answer differently.
  public static func classifier(seed: UInt64 = 1) -> ModelDefinition {
    var random = SplitMix64(seed: seed)
    let columns = 5
    let hidden = 4
    let schema = FeatureSchema(
      features: [
        Feature(name: "alcohol", kind: .numeric, missing: .impute, summary: "percent by volume"),
        Feature(name: "ash", kind: .numeric, missing: .refuse),
        Feature(
          name: "colour", kind: .categorical(categories: ["red", "white", "rosé"], unknown: .zeros), missing: .impute),
      ], target: "quality")
    let graph = ModelGraph(
      task: .classification,
      values: [
        .init(name: "row", columns: 3), .init(name: "imputed", columns: 3), .init(name: "encoded", columns: columns),
        .init(name: "scaled", columns: columns), .init(name: "hidden", columns: hidden),
        .init(name: "logits", columns: 3), .init(name: "probabilities", columns: 3), .init(name: "class", columns: 1),
      ],
      nodes: [
        Node(name: "impute", input: 0, output: 1, operation: Impute(fill: [13, 2.5, 0])),
        Node(name: "encode", input: 1, output: 2, operation: OneHot(widths: [0, 0, 3])),
        Node(
          name: "scale", input: 2, output: 3,
          operation: Affine(scaling: .standardise, offset: [13, 2.5, 0, 0, 0], scale: [1.25, 4, 1, 1, 1])),
        Node(
          name: "dense 1", input: 3, output: 4, operation: Dense(weights: 0, bias: 1, activation: .relu)),
        Node(
          name: "dense 2", input: 4, output: 5, operation: Dense(weights: 2, bias: 3, activation: .identity)),
        Node(name: "softmax", input: 5, output: 6, operation: Softmax()),
        Node(name: "arg max", input: 6, output: 7, operation: ArgMax()),
      ],
      outputs: [
        .init(name: "probabilities", value: 6, kind: .number), .init(name: "class", value: 7, kind: .classIndex),
        .init(name: "label", value: 7, kind: .classLabel),
      ],
      tensors: [
        WeightTensor(
          name: "dense 1 weights", shape: [hidden, columns],
          storage: .int8(
            (0..<hidden * columns).map { _ in max(-127, Int8(truncatingIfNeeded: random.next())) },
            scales: (0..<hidden).map { _ in 0.007 + 0.003 * random.nextFloat() })),
        WeightTensor(
          name: "dense 1 bias", shape: [hidden],
          storage: .float32((0..<hidden).map { _ in 0.5 * random.nextFloat() })),
        WeightTensor(
          name: "dense 2 weights", shape: [3, hidden],
          storage: .float32((0..<3 * hidden).map { _ in random.nextFloat() })),
        WeightTensor(name: "dense 2 bias", shape: [3], storage: .float32([0.1, 0, -0.1])),
      ])
    return ModelDefinition(schema: schema, graph: graph, labels: ["good", "fair", "poor"])
  }

  /// y = weight · x + bias, exactly: an answer tells which version gave it.
  ///
  /// - Parameters:
  ///   - weight: a whole number below 2²⁰ answers exactly for small whole x.
  public static func line(weight: Float, bias: Float = 0) -> ModelDefinition {
    ModelDefinition(
      schema: FeatureSchema(features: [Feature(name: "x", kind: .numeric, missing: .refuse)], target: "y"),
      graph: ModelGraph(
        task: .regression, values: [.init(name: "row", columns: 1), .init(name: "y", columns: 1)],
        nodes: [
          Node(name: "line", input: 0, output: 1, operation: Dense(weights: 0, bias: 1, activation: .identity))
        ],
        outputs: [.init(name: "prediction", value: 1, kind: .number)],
        tensors: [
          WeightTensor(name: "weight", shape: [1, 1], storage: .float32([weight])),
          WeightTensor(name: "bias", shape: [1], storage: .float32([bias])),
        ]),
      labels: [])
  }

  /// Model that only format 1.1 can say: an f64 row, scaled, added to a shuffled copy and reshaped on the way; weights of
  /// every kind; each operation that ``classifier(seed:)`` lacks.
  public static func openGraph() -> ModelDefinition {
    ModelDefinition(
      schema: ModelFixtures.schema(features: 3),
      graph: ModelGraph(
        task: .regression,
        values: [
          .init(name: "row", type: ValueType(.float64, [3])), .init(name: "scaled", columns: 3),
          .init(name: "chosen", columns: 3), .init(name: "sum", columns: 3), .init(name: "both", columns: 6),
          .init(name: "square", type: ValueType(.float32, [2, 3])), .init(name: "flat", columns: 6),
          .init(name: "y", columns: 2), .init(name: "clipped", columns: 2),
        ],
        nodes: [
          Node(
            name: "scale", input: 0, output: 1,
            operation: Affine(scaling: .minMax, offset: [1, 2, 3], scale: [1, 0.5, 2])),
          Node(name: "choose", input: 1, output: 2, operation: SelectColumns(columns: [2, 0, 0])),
          Node(name: "add", inputs: [1, 2], outputs: [3], operation: Add()),
          Node(name: "concat", inputs: [3, 1], outputs: [4], operation: Concat()),
          Node(name: "square", input: 4, output: 5, operation: Reshape(shape: [2, 3])),
          Node(name: "flatten", input: 5, output: 6, operation: Reshape(shape: [6])),
          Node(name: "dense", input: 6, output: 7, operation: Dense(weights: 0, bias: nil, activation: .identity)),
          Node(name: "clip", input: 7, output: 8, operation: Clip(low: [-10, 0], high: [10])),
        ],
        outputs: [.init(name: "y", value: 8, kind: .number)],
        tensors: [
          WeightTensor(
            name: "weights", shape: [2, 6], storage: .float16((0..<12).map { UInt16(0x3c00 + $0 * 0x40) })),
          WeightTensor(name: "table", shape: [2, 2, 1, 1, 1], storage: .int32([1, -2, .max, .min])),
          WeightTensor(
            name: "filter", shape: [2, 1, 2], storage: .int8([1, 2, 3, -127], scales: [0.5, 0.25])),
        ]),
      labels: [])
  }

  /// Model that only format 1.5 can say: a hashed category, a date in parts, flags, products, crosses, tables and curves.
  public static func columnSteps() -> ModelDefinition {
    var schema = FeatureSchema(
      features: [
        Feature(name: "x", kind: .numeric, missing: .impute),
        Feature(name: "colour", kind: .categorical(categories: ["red"], unknown: .hash), missing: .impute, buckets: 3),
        Feature(name: "at", kind: .datetime(order: .yearFirst), missing: .impute),
      ], target: "y")
    schema.rules = ValueRules(missing: ["NA"])
    // x, colour, at, x.missing; x, colour, month, weekday, x.missing; … x * month, colour × weekday.
    let curves: [Curves.Curve] = [
      .yeoJohnson(0.5), .none, .none, .logarithm, .quantiles([0, 1, 1, 4], isNormal: true), .none,
      .quantiles([-1, 0, 7], isNormal: false), .none,
    ]
    let ones = [Float](repeating: 1, count: 8)
    return ModelDefinition(
      schema: schema,
      graph: ModelGraph(
        task: .regression,
        values: [
          .init(name: "row", type: ValueType(.float64, [3])), .init(name: "flags", type: ValueType(.float64, [4])),
          .init(name: "filled", type: ValueType(.float64, [4])), .init(name: "parts", type: ValueType(.float64, [5])),
          .init(name: "crossed", type: ValueType(.float64, [7])), .init(name: "coded", type: ValueType(.float64, [8])),
          .init(name: "curved", type: ValueType(.float64, [8])), .init(name: "scaled", columns: 8),
        ],
        nodes: [
          Node(
            name: "flags", input: 0, output: 1,
            operation: DerivedColumns(derivations: [.init(.missing, of: [0])])),
          Node(name: "impute", input: 1, output: 2, operation: Impute(fill: [2, 0, 0, 0])),
          Node(
            name: "parts", input: 2, output: 3, operation: DateParts(parts: [[], [], [.month, .weekday], []])),
          Node(
            name: "interactions", input: 3, output: 4,
            operation: DerivedColumns(
              derivations: [.init(.product, of: [0, 2]), .init(.cross, of: [1, 3], buckets: 5)])),
          Node(
            name: "encode", input: 4, output: 5,
            operation: Lookup(
              tables: [nil, .init(width: 2, values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), nil, nil, nil, nil, nil])),
          Node(name: "curves", input: 5, output: 6, operation: Curves(curves: curves)),
          Node(
            name: "scale", input: 6, output: 7,
            operation: Affine(scaling: .robust, offset: ones.map { _ in 0 }, scale: ones)),
        ],
        outputs: [.init(name: "y", value: 7, kind: .number)], tensors: []),
      labels: [])
  }

  /// Trees on an f64 row with a category and gaps: three outputs, one of them a tree's each, softmax and a label. Golden
  /// samples were added up by hand.
  public static func trees() -> BundleContents {
    var trees = TreeEnsemble(
      comparison: .atMost, sums: .float64,
      nodes: [1, 0, 2, 0, 0, 3, 0, 0, 0, 2, 0, 0], thresholds: [10.5, 0.1, 0, 0.1],
      leaves: [1, 2, 4, -1, 1, 0.5, 8, -8])
    trees.missing = [.left, .right, .right, .asZero]
    (trees.sets, trees.setWords, trees.setBits) = ([0, 0, 1, 0], [1], [0b101])
    trees.treeOutputs = [0, 1, 2, 0]
    (trees.start, trees.divisor) = ([0.25, 0, 0], 2)
    let definition = ModelDefinition(
      schema: FeatureSchema(
        features: [
          Feature(name: "alcohol", kind: .numeric, missing: .impute),
          Feature(name: "ash", kind: .numeric, missing: .impute),
          Feature(
            name: "colour", kind: .categorical(categories: ["red", "white", "rosé"], unknown: .zeros),
            missing: .impute),
        ], target: "quality"),
      graph: ModelGraph(
        task: .classification,
        values: [
          .init(name: "row", type: ValueType(.float64, [3])), .init(name: "margins", columns: 3),
          .init(name: "probabilities", columns: 3), .init(name: "class", columns: 1),
        ],
        nodes: [
          Node(name: "trees", input: 0, output: 1, operation: trees),
          Node(name: "softmax", input: 1, output: 2, operation: Softmax()),
          Node(name: "arg max", input: 2, output: 3, operation: ArgMax()),
        ],
        outputs: [
          .init(name: "margins", value: 1, kind: .number), .init(name: "probabilities", value: 2, kind: .number),
          .init(name: "label", value: 3, kind: .classLabel),
        ], tensors: []),
      labels: ["good", "fair", "poor"])
    func sample(_ name: String, _ cells: [Cell], _ margins: [Double], _ label: String) -> GoldenSample {
      GoldenSample(
        name: name, cells: cells,
        expectation: .answers([("margins", .numbers(margins)), ("label", .strings([label]))]), tolerance: 0)
    }
    return BundleContents(
      definition: definition,
      golden: [
        // Tree 0: 10.5 is at most 10.5, leaf 1. Tree 1: red is a member, −1. Tree 2: 0.5. Tree 3: 0.1 is at most 0.1, 8.
        sample("at thresholds", [.number(10.5), .number(0.1), .text("red")], [4.625, -0.5, 0.25], "good"),
        // Tree 0: above 10.5, above 0.1, leaf 4. Tree 1: white is none, 1. Tree 3: −8.
        sample("above", [.number(11), .number(0.2), .text("white")], [-1.875, 0.5, 0.25], "fair"),
        // Tree 0: missing goes left, 1. Tree 1: missing goes right, 1. Tree 3: missing counts as 0, 8.
        sample("missing", [.missing, .missing, .missing], [4.625, 0.5, 0.25], "good"),
        // Tree 0: above, then missing goes right, 4. An unseen colour is no member.
        sample("unseen", [.number(12), .missing, .text("blue")], [6.125, 0.5, 0.25], "good"),
      ], drift: nil, metrics: [:], lineage: nil)
  }

  /// Linear trees on an f64 row, and each link behind them.
  public static func linearTrees() -> ModelDefinition {
    // Tree 0: x ≤ 1.5 ? 1 + 2x − 0.5y : 3; tree 1: −1 + y. A gap in x: 10; in y: 30.
    let trees = LinearTrees(
      trees: TreeEnsemble(
        comparison: .atMost, sums: .float64, nodes: [1, 0, 0, 0], thresholds: [1.5], leaves: [10, 20, 30]),
      constants: [1, 3, -1], termCounts: [2, 0, 1], termColumns: [0, 1, 1], coefficients: [2, -0.5, 1])
    let features = ["x", "y"].map { Feature(name: $0, kind: .numeric, missing: .impute) }
    return ModelDefinition(
      schema: FeatureSchema(features: features, target: "z"),
      graph: ModelGraph(
        task: .regression,
        values: [.init(name: "row", type: ValueType(.float64, [2]))]
          + ["sum", "exp", "softplus", "square"].map { .init(name: $0, columns: 1) },
        nodes: [
          Node(name: "trees", input: 0, output: 1, operation: trees),
          Node(name: "exp", input: 1, output: 2, operation: Exp()),
          Node(name: "softplus", input: 1, output: 3, operation: Softplus()),
          Node(name: "square", input: 1, output: 4, operation: SignedSquare()),
        ],
        outputs: ["sum", "exp", "softplus", "square"].enumerated().map {
          .init(name: $1, value: $0 + 1, kind: .number)
        }, tensors: []),
      labels: [])
  }

  /// A definition with a refusal among its golden samples, drift, metrics and lineage.
  public static func contents(_ definition: ModelDefinition = classifier()) -> BundleContents {
    BundleContents(
      definition: definition, golden: golden(for: definition),
      drift: DriftBaseline(
        features: definition.schema.features.map { feature in
          switch feature.kind {
          case .numeric, .datetime, .text:
            .init(
              name: feature.name, rows: 100, missingRate: 0.25, quantileEdges: [11, 12.5, 13, 15],
              binCounts: [25, 25, 25])
          case .categorical(let categories, _):
            .init(
              name: feature.name, rows: 100, missingRate: 0,
              categories: categories.enumerated().map { ($0.element, 60 - $0.offset * 10) })
          }
        },
        prediction: .init(
          name: definition.schema.target, rows: 100, missingRate: 0,
          categories: definition.labels.enumerated().map { ($0.element, 40 - $0.offset) })),
      metrics: ["test.accuracy": 0.875, "test.log_loss": 0.25, "train.rows": 0],
      lineage: Lineage(
        trainerVersion: "0.1.0", dataSHA256: String(repeating: "ab", count: 32),
        configuration: "family: mlp\nseed: 1\n", seed: 1, parent: "", family: "mlp", rows: 100,
        quantisation: "int8 for dense 1: agreement 0.999"))
  }

  private static func golden(for definition: ModelDefinition) -> [GoldenSample] {
    guard definition.graph.task == .classification else {
      guard case .float32(let weight) = definition.graph.tensors[0].storage,
        case .float32(let bias) = definition.graph.tensors[1].storage
      else { return [] }
      return [
        GoldenSample(
          name: "x = 2", cells: [.number(2)],
          expectation: .answers([("prediction", .numbers([Double(weight[0] * 2 + bias[0])]))]), tolerance: 1e-6)
      ]
    }
    return [
      GoldenSample(
        name: "ash missing", cells: [.number(13), .missing, .text("red")],
        expectation: .refusal(.invalidArgument), tolerance: 0)
    ]
  }

  /// The bytes of a bundle.
  public static func bundle(
    model: String = modelName, version: UInt64 = 1, _ contents: BundleContents = contents(),
    createdMilliseconds: UInt64 = 1_760_000_000_000, notAfterMilliseconds: UInt64 = 0, keys: [SigningKey] = [key]
  ) throws -> [UInt8] {
    try BundleWriter(
      model: ModelID(model), version: ModelVersion(version)!, contents: contents,
      createdMilliseconds: createdMilliseconds, notAfterMilliseconds: notAfterMilliseconds
    ).encode(signing: keys)
  }
}
