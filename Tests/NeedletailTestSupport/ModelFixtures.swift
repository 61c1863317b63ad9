public import NeedletailCore
public import NeedletailEngine

/// Small ready-made models.
public enum ModelFixtures {
  public enum Precision: Sendable { case float32, int8 }

  /// Numeric features `x0 … `, output `prediction` = Σ weights · x + bias; missing refused.
  public static func linearRegression(weights: [Float] = [2, -3, 0.5], bias: Float = 1) -> ModelDefinition {
    let columns = weights.count
    return ModelDefinition(
      schema: schema(features: columns),
      graph: ModelGraph(
        task: .regression,
        values: [.init(name: "row", columns: columns), .init(name: "prediction", columns: 1)],
        nodes: [
          Node(
            name: "linear", input: 0, output: 1,
            operation: Dense(weights: 0, bias: 1, activation: .identity))
        ],
        outputs: [.init(name: "prediction", value: 1, kind: .number)],
        tensors: [
          WeightTensor(name: "weights", shape: [1, columns], storage: .float32(weights)),
          WeightTensor(name: "bias", shape: [1], storage: .float32([bias])),
        ]),
      labels: [])
  }

  /// One numeric feature `x`, output `prediction` = `answer`, whatever x is: a model whose answer
  /// tells which version gave it.
  public static func constant(_ answer: Float) -> ModelDefinition {
    var definition = linearRegression(weights: [0], bias: answer)
    definition.schema.features[0].name = "x"
    return definition
  }

  /// Features `age` (numeric, missing imputed as 40), `income` (numeric, missing refused) and `colour`
  /// (`red`, `green`, `blue`; unknown by `unknown`; missing imputed as `red`); classes `no` and `yes`.
  ///
  /// Impute, standardise, one-hot, dense, softmax, argmax; outputs `probabilities`, `class`, `label`.
  public static func logistic(unknown: Feature.UnknownPolicy = .refuse) -> ModelDefinition {
    let width = unknown == .other ? 4 : 3
    let columns = 2 + width
    let no: [Float] = [0.5, -0.25, 1, -1, 0.25, 0.125]
    let yes: [Float] = [-0.5, 0.75, -1, 1, 0.5, -0.125]
    return ModelDefinition(
      schema: FeatureSchema(
        features: [
          Feature(name: "age", kind: .numeric, missing: .impute, summary: "Years."),
          Feature(name: "income", kind: .numeric, missing: .refuse, summary: "Thousands a year."),
          Feature(
            name: "colour", kind: .categorical(categories: ["red", "green", "blue"], unknown: unknown),
            missing: .impute, summary: "Favourite colour."),
        ], target: "answer"),
      graph: ModelGraph(
        task: .classification,
        values: [
          .init(name: "row", columns: 3), .init(name: "filled", columns: 3), .init(name: "scaled", columns: 3),
          .init(name: "encoded", columns: columns), .init(name: "logits", columns: 2),
          .init(name: "probabilities", columns: 2), .init(name: "class", columns: 1),
        ],
        nodes: [
          Node(name: "impute", input: 0, output: 1, operation: Impute(fill: [40, 0, 0])),
          Node(
            name: "scale", input: 1, output: 2,
            operation: Affine(scaling: .standardise, offset: [40, 50, 0], scale: [0.1, 0.05, 1])),
          Node(name: "one-hot", input: 2, output: 3, operation: OneHot(widths: [0, 0, width])),
          Node(
            name: "dense", input: 3, output: 4,
            operation: Dense(weights: 0, bias: 1, activation: .identity)),
          Node(name: "softmax", input: 4, output: 5, operation: Softmax()),
          Node(name: "argmax", input: 5, output: 6, operation: ArgMax()),
        ],
        outputs: classificationOutputs(probabilities: 5, winner: 6),
        tensors: [
          WeightTensor(
            name: "weights", shape: [2, columns],
            storage: .float32(Array(no.prefix(columns)) + Array(yes.prefix(columns)))),
          WeightTensor(name: "bias", shape: [2], storage: .float32([0.1, -0.1])),
        ]),
      labels: ["no", "yes"])
  }

  /// A multi-layer perceptron with seeded random weights: `widths[0]` numeric features `x0 …`, hidden
  /// layers with `activation`, as many classes as the last width, labels `c0 …`.
  ///
  /// Outputs `probabilities`, `class`, `label`. The int8 twin of a seed holds the rounded weights of
  /// the fp32 one.
  public static func mlp(
    widths: [Int], precision: Precision = .float32, activation: Dense.Activation = .relu, seed: UInt64 = 1
  ) -> ModelDefinition {
    precondition(widths.count >= 2)
    var random = SplitMix64(seed: seed)
    var values = [ModelGraph.Value(name: "row", columns: widths[0])]
    var nodes: [Node] = []
    var tensors: [WeightTensor] = []
    for layer in 1..<widths.count {
      let (inputs, outputs) = (widths[layer - 1], widths[layer])
      let reach = (2 / Float(inputs)).squareRoot()
      let weights = (0..<inputs * outputs).map { _ in random.nextFloat() * reach }
      let bias = (0..<outputs).map { _ in random.nextFloat() * 0.1 }
      let storage = precision == .float32 ? .float32(weights) : quantise(weights, columns: inputs)
      tensors.append(WeightTensor(name: "weights\(layer)", shape: [outputs, inputs], storage: storage))
      tensors.append(WeightTensor(name: "bias\(layer)", shape: [outputs], storage: .float32(bias)))
      let isLast = layer == widths.count - 1
      nodes.append(
        Node(
          name: "dense\(layer)", input: layer - 1, output: layer,
          operation: Dense(weights: 2 * layer - 2, bias: 2 * layer - 1, activation: isLast ? .identity : activation)))
      values.append(.init(name: "hidden\(layer)", columns: outputs))
    }
    let logits = widths.count - 1
    nodes.append(Node(name: "softmax", input: logits, output: logits + 1, operation: Softmax()))
    nodes.append(Node(name: "argmax", input: logits + 1, output: logits + 2, operation: ArgMax()))
    let classes = widths[logits]
    values += [.init(name: "probabilities", columns: classes), .init(name: "class", columns: 1)]
    return ModelDefinition(
      schema: schema(features: widths[0]),
      graph: ModelGraph(
        task: .classification, values: values, nodes: nodes,
        outputs: classificationOutputs(probabilities: logits + 1, winner: logits + 2), tensors: tensors),
      labels: (0..<classes).map { "c\($0)" })
  }

  /// Two texts and a number between them; output `prediction` = bytes of `title` + 1000 · `weight` + 0.001 · bytes of
  /// `body`. A missing body counts as −2 bytes, and a missing title is refused.
  public static func textLengths() -> ModelDefinition {
    ModelDefinition(
      schema: FeatureSchema(
        features: [
          Feature(name: "title", kind: .text, missing: .refuse),
          Feature(name: "weight", kind: .numeric, missing: .refuse),
          Feature(name: "body", kind: .text, missing: .impute),
        ], target: "y", rules: ValueRules(missing: ["NA"])),
      graph: ModelGraph(
        task: .regression,
        values: [
          .init(name: "row", columns: 3), .init(name: "texts", type: ValueType(.text, [2])),
          .init(name: "filled", columns: 3), .init(name: "prediction", columns: 1),
        ],
        nodes: [
          Node(name: "impute", input: 0, output: 2, operation: Impute(fill: [0, 0, -2])),
          Node(name: "linear", input: 2, output: 3, operation: Dense(weights: 0, bias: nil, activation: .identity)),
        ],
        outputs: [.init(name: "prediction", value: 3, kind: .number)],
        tensors: [WeightTensor(name: "weights", shape: [1, 3], storage: .float32([1, 1000, 0.001]))], textInput: 1),
      labels: [])
  }

  /// Numeric features `x0 …`, missing refused.
  public static func schema(features: Int) -> FeatureSchema {
    FeatureSchema(
      features: (0..<features).map { Feature(name: "x\($0)", kind: .numeric, missing: .refuse) }, target: "y")
  }

  /// Symmetric per-row int8, as the trainer quantises.
  public static func quantise(_ weights: [Float], columns: Int) -> WeightTensor.Storage {
    var quantised: [Int8] = []
    var scales: [Float] = []
    for start in stride(from: 0, to: weights.count, by: columns) {
      let row = weights[start..<start + columns]
      let largest = row.reduce(0) { max($0, abs($1)) }
      let scale = largest > 0 ? largest / 127 : 1
      scales.append(scale)
      quantised += row.map { Int8(($0 / scale).rounded(.toNearestOrEven)) }
    }
    return .int8(quantised, scales: scales)
  }

  private static func classificationOutputs(probabilities: Int, winner: Int) -> [ModelGraph.Output] {
    [
      .init(name: "probabilities", value: probabilities, kind: .number),
      .init(name: "class", value: winner, kind: .classIndex),
      .init(name: "label", value: winner, kind: .classLabel),
    ]
  }
}

extension SplitMix64 {
  /// A number from −1 up to but not including 1, with 24 random bits.
  public mutating func nextFloat() -> Float { Float(next() >> 40) / Float(1 << 23) - 1 }

  /// Changes one to four places of a message: a bit is flipped, or a byte is replaced, inserted or removed. At least
  /// one byte stays.
  public mutating func mutate(_ bytes: inout [UInt8]) {
    for _ in 0..<Int.random(in: 1...4, using: &self) {
      let position = Int.random(in: 0..<bytes.count, using: &self)
      switch Int.random(in: 0..<4, using: &self) {
      case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &self)
      case 1: bytes[position] = UInt8.random(in: 0...255, using: &self)
      case 2: bytes.insert(UInt8.random(in: 0...255, using: &self), at: position)
      default: if bytes.count > 1 { bytes.remove(at: position) }
      }
    }
  }
}
