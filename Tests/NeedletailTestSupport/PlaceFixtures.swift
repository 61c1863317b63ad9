internal import NeedletailCore
public import NeedletailEngine

/// Small models whose answers are places in texts. A token's numbers are those of its id in a table.
public enum PlaceFixtures {
  /// Kinds of entities: `fast` begins one of the first, `é` goes on with it; `an`, and what the tokenizer does not know,
  /// is one of the second.
  public static let labels = ["SPEED", "OTHER \"THING\""]
  /// Entities that a row has room for.
  public static let entitiesMax = 8

  /// Texts with characters of several bytes, marks that JSON escapes, and more entities than there is room for.
  public static let texts = [
    "fast an", "", "er <new>", "  fast \u{e9} x\u{1F600}x", "a \"b\\c\" fast\n\u{e4}\tan",
    "fast fast an fast an fast an fast an fast an", "\u{130}\u{130} fast \u{4e2d}\u{6587}", "<new> an \u{1} fast",
  ]

  public static func entities() throws -> ModelDefinition {
    let tags = [
      Entities.Tag(kind: nil), Entities.Tag(kind: 0, begins: true), Entities.Tag(kind: 0), Entities.Tag(kind: 1),
    ]
    // Tokens [UNK] and an: the second kind. Behind each, how sure it is.
    var classes = [Int](repeating: 0, count: 12)
    (classes[1], classes[4], classes[6], classes[9], classes[10]) = (3, 1, 3, 2, 2)
    var table: [[Float]] = []
    for (id, own) in classes.enumerated() {
      var row = [Float](repeating: Float(id % 3) / 4, count: 4)
      row[own] = 2 + Float(id) / 8
      table.append(row)
    }
    return try definition(
      Entities(tags: tags, entitiesMax: entitiesMax), named: "entities", columns: 4 * entitiesMax, table: table,
      hasSoftmax: true, labels: labels)
  }

  /// Asks `question` and looks in `context`.
  public static func answers() throws -> ModelDefinition {
    let table = (0..<12).map { (id: Int) -> [Float] in [Float(id * 5 % 12) / 3, Float(id * 7 % 12) / 4] }
    return try definition(
      AnswerSpan(sequence: 1, tokensMax: 3), columns: 3, table: table, hasPair: true)
  }

  /// A model whose one output an operation writes, which reads the tokens' numbers and what they cover.
  ///
  /// - Parameters:
  ///   - name: of the output.
  ///   - table: numbers of each of the tokenizer's 12 ids.
  ///   - hasSoftmax: whether the operation reads their softmax.
  ///   - hasPair: whether a row has two texts.
  public static func definition(
    _ operation: any GraphOperation, named name: String = "answer", columns: Int, table: [[Float]],
    hasSoftmax: Bool = false, hasPair: Bool = false, labels: [String] = []
  ) throws -> ModelDefinition {
    var tokenizer = TokenizerFixtures.wordPieces()
    tokenizer.tokensMax = 40
    let names = hasPair ? ["question", "context"] : ["text"]
    let index = ValueType(.int32, [1], per: .token)
    let numbers = ValueType(.float32, [table[0].count], per: .token)
    let graph = ModelGraph(
      task: .classification,
      values: [
        .init(name: "row", columns: names.count), .init(name: "texts", type: ValueType(.text, [names.count])),
        .init(name: "ids", type: index), .init(name: "types", type: index),
        .init(name: "spans", type: ValueType(.int32, [4], per: .token)), .init(name: "numbers", type: numbers),
        .init(name: name, columns: columns), .init(name: "shares", type: numbers),
      ],
      nodes: [
        Node(
          name: "tokens", inputs: [1], outputs: [2, 3, 4],
          operation: Tokenize(column: 0, second: hasPair ? 1 : nil, tokensMax: 40)),
        Node(name: "look up", input: 2, output: 5, operation: Embedding(table: 0)),
        Node(name: "softmax", input: 5, output: 7, operation: Softmax()),
        Node(name: name, inputs: [hasSoftmax ? 7 : 5, 4], outputs: [6], operation: operation),
      ], outputs: [.init(name: name, value: 6, kind: .number)],
      tensors: [
        WeightTensor(
          name: "table", shape: [table.count, table[0].count], storage: .float32(table.flatMap { $0 }))
      ], textInput: 1, tokenizer: try Tokenizer(tokenizer))
    return ModelDefinition(
      schema: FeatureSchema(features: names.map { Feature(name: $0, kind: .text, missing: .impute) }, target: "y"),
      graph: graph, labels: labels)
  }
}
