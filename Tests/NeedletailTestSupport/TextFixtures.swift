internal import NeedletailCore
public import NeedletailEngine

extension ModelFixtures {
  /// Classes of short texts: `review` by the words of a vocabulary and by hashed characters, and `price`, a number that
  /// may be missing. Three layers are added, so that no row of terms is ever written.
  public static func topics(seed: UInt64 = 5) -> ModelDefinition {
    var random = SplitMix64(seed: seed)
    let words = ["amazing", "bad", "board game", "good", "library", "not", "not good", "ß_2", "страна"]
    let (buckets, classes) = (64, 3)
    func weights(_ name: String, _ columns: Int) -> WeightTensor {
      WeightTensor(
        name: name, shape: [classes, columns],
        storage: .float32((0..<classes * columns).map { _ in random.nextFloat() }))
    }
    func dense(_ weights: Int, bias: Int? = nil) -> Dense { Dense(weights: weights, bias: bias, activation: .identity) }
    return ModelDefinition(
      schema: FeatureSchema(
        features: [
          Feature(name: "review", kind: .text, missing: .impute),
          Feature(name: "price", kind: .numeric, missing: .impute),
        ], target: "topic", rules: ValueRules()),
      graph: ModelGraph(
        task: .classification,
        values: [
          .init(name: "row", columns: 2), .init(name: "texts", type: ValueType(.text, [1])),
          .init(name: "words", columns: words.count), .init(name: "characters", columns: buckets),
          .init(name: "filled", columns: 2), .init(name: "by words", columns: classes),
          .init(name: "by characters", columns: classes), .init(name: "by numbers", columns: classes),
          .init(name: "sum", columns: classes), .init(name: "logits", columns: classes),
          .init(name: "probabilities", columns: classes), .init(name: "class", columns: 1),
        ],
        nodes: [
          Node(
            name: "words", input: 1, output: 2,
            operation: TextTerms(
              text: 0, analyser: .init(unit: .words, shortest: 1, longest: 2), columns: .vocabulary(TermList(words)),
              isSublinear: true, idf: (0..<words.count).map { 1 + 0.25 * Float($0) })),
          Node(
            name: "characters", input: 1, output: 3,
            operation: TextTerms(
              text: 0, analyser: .init(unit: .wordCharacters, shortest: 2, longest: 4),
              columns: .hashed(buckets: buckets, isSigned: true))),
          Node(name: "impute", input: 0, output: 4, operation: Impute(fill: [0, 1])),
          Node(name: "by words", input: 2, output: 5, operation: dense(0, bias: 3)),
          Node(name: "by characters", input: 3, output: 6, operation: dense(1)),
          Node(name: "by numbers", input: 4, output: 7, operation: dense(2)),
          Node(name: "add", inputs: [5, 6], outputs: [8], operation: Add()),
          Node(name: "add numbers", inputs: [8, 7], outputs: [9], operation: Add()),
          Node(name: "softmax", input: 9, output: 10, operation: Softmax()),
          Node(name: "arg max", input: 10, output: 11, operation: ArgMax()),
        ],
        outputs: [
          .init(name: "probabilities", value: 10, kind: .number), .init(name: "class", value: 11, kind: .classIndex),
          .init(name: "label", value: 11, kind: .classLabel),
        ],
        tensors: [
          weights("word weights", words.count), weights("character weights", buckets), weights("number weights", 2),
          WeightTensor(name: "bias", shape: [classes], storage: .float32([0.5, -0.5, 0])),
        ], textInput: 1),
      labels: ["games", "science", "web"])
  }

  /// Texts that look like those of ``topics(seed:)``, among them empty ones and some without a known word.
  public static func reviews(_ count: Int, seed: UInt64 = 1) -> [String] {
    let pieces = [
      "good", "Not", "not good", "BOARD game", "library", "amazing!", "ß_2", "Страна", "bad-bad", "x",
      "\u{130}\u{2009}c", "",
      "\u{1F600}", "e\u{301}a", "\n\n", "and so on",
    ]
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in
      (0..<Int(random.next() % 12)).map { _ in pieces[Int(random.next() % UInt64(pieces.count))] }
        .joined(separator: random.next() % 4 == 0 ? "" : " ")
    }
  }
}
