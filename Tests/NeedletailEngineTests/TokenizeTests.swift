import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Text to tokens inside a plan.
@Suite struct TokenizeTests {
  private static let texts = [
    "fast", "", "anser fast", "faster an", "x", "fast fast fast fast fast fast fast fast fast",
  ]

  private static func numbers(_ model: CompiledModel, _ rows: [[Cell]]) throws -> [Double] {
    guard case .numbers(let numbers) = try model.answers(for: rows)[0].answer else { return [] }
    return numbers
  }

  /// The definition's answer for a row whose tokens the tokenizer alone has found.
  private static func reference(_ definition: ModelDefinition, _ first: String, _ second: String? = nil) throws
    -> [Double]
  {
    let tokenizer = try #require(definition.graph.tokenizer)
    let found = try tokenizer.encode(Array(first.utf8), second.map { Array($0.utf8) })
    let known = [2: found.ids.map { [Double($0)] }, 3: found.types.map { [Double($0)] }]
    return definition.graph.reference(known: known)[definition.graph.outputs[0].value][0]
  }

  @Test(arguments: TokenizerFixtures.all)
  func aTextIsComputedAsItsTokens(tokenizer: TokenizerDefinition) throws {
    let definition = try EncoderFixtures.sentences(tokenizer, tokensMax: 64, precision: .float32)
    let model = try CompiledModel(definition)
    let found = try Self.numbers(model, Self.texts.map { [.text($0)] })
    let expected = try Self.texts.flatMap { try Self.reference(definition, $0) }
    try #require(found.count == expected.count)
    for (x, y) in zip(expected, found) { #expect(abs(x - y) < 2e-6, "expected \(x), found \(y)") }
  }

  @Test func aPairIsComputedAsItsTokensWithTheirTypes() throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.wordPieces(), hasPair: true, precision: .float32)
    let model = try CompiledModel(definition)
    let found = try Self.numbers(model, [[.text("fast an"), .text("anser")], [.text("an"), .missing]])
    let expected = try Self.reference(definition, "fast an", "anser") + Self.reference(definition, "an", "")
    for (x, y) in zip(expected, found) { #expect(abs(x - y) < 2e-6, "expected \(x), found \(y)") }
  }

  @Test func aMissingTextReadsAsTheEmptyOne() throws {
    let model = try CompiledModel(EncoderFixtures.sentences(TokenizerFixtures.wordPieces()))
    #expect(try Self.numbers(model, [[.missing]]) == Self.numbers(model, [[.text("")]]))
  }

  @Test func aTextHasTheSameBitsAloneAndAmongOthers() throws {
    let model = try CompiledModel(EncoderFixtures.sentences(TokenizerFixtures.wordPieces()))
    let rows: [[Cell]] = (0..<700).map { [.text(Self.texts[$0 % Self.texts.count])] }
    let alone = try rows.prefix(Self.texts.count).map { try Self.numbers(model, [$0]) }
    let together = try Self.numbers(model, rows)
    #expect(together == rows.indices.flatMap { alone[$0 % Self.texts.count] })
  }

  @Test func aTextIsTruncatedWhereTheTokenizerSaysSo() throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.wordPieces())
    let model = try CompiledModel(definition)
    let long = String(repeating: "fast ", count: 2000)
    let cut = String(repeating: "fast ", count: 14)
    #expect(try Self.numbers(model, [[.text(long)]]) == Self.numbers(model, [[.text(cut)]]))
  }

  @Test func aTextOfMoreTokensIsRefusedWhereNothingTruncates() throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.bytePairs(), tokensMax: 8)
    let model = try CompiledModel(definition)
    // A space is put in front of the text, and each of its bytes is a token.
    _ = try Self.numbers(model, [[.text("1234567")]])
    let error = #expect(throws: ServingError.self) {
      try model.answers(for: [[.text("1")], [.text("12345678")], [.text("2")]])
    }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message == "row 1, text: expected at most 8 tokens, found more")
  }

  @Test func noUnknownTokenIsAnErrorOfItsRowAlone() throws {
    var tokenizer = TokenizerFixtures.wordPieces()
    tokenizer.unknown = nil
    let model = try CompiledModel(EncoderFixtures.sentences(tokenizer))
    let plan = model.plan
    let workspace = try Workspace(plan)
    let cells: [[Cell]] = [[.text("fast")], [.text("x")], [.text("an")]]
    #expect(try model.binder.bind(rows: 3, from: 0, for: plan, into: workspace.rows) { cells[$0] } == 3)
    plan.run(workspace, rows: 3)
    #expect(plan.textError(workspace, rows: 0..<1) == nil && plan.textError(workspace, rows: 2..<3) == nil)
    #expect(plan.textError(workspace, rows: 0..<3)?.message.contains("row 1, text: expected text that the") == true)
    let fast = try Self.numbers(model, [[.text("fast")]])
    #expect(Array(UnsafeBufferPointer(start: workspace.output(0), count: fast.count)).map(Double.init) == fast)
  }

  @Test func unitsOfACallAreABoundOfItsTokens() throws {
    for tokenizer in TokenizerFixtures.all {
      let model = try CompiledModel(EncoderFixtures.sentences(tokenizer, tokensMax: 64))
      let texts = Self.texts + ["\u{fdfa}", "e\u{301}e\u{301}", "日本語", "\u{1F600}\u{1F600}"]
      let workspace = try Workspace(model.plan)
      for text in texts {
        let request = TensorFixture().add("text", [1], strings: [text])
        let extent = try model.binder.extent(of: request.tensors, max: BatchExtent(rows: 4))
        var used = 0
        try model.binder.bind(request.tensors, rows: 0..<1, into: workspace.rows, textBytesUsed: &used)
        model.plan.run(workspace, extent)
        #expect(extent.units >= workspace.tokenCount(rows: 1))
        withExtendedLifetime(request) {}
      }
    }
  }

  @Test func scratchOfTokensHasRoomForTheLongestRow() throws {
    let plan = try CompiledModel(EncoderFixtures.sentences(TokenizerFixtures.bytePairs(), tokensMax: 5000)).plan
    #expect(plan.extentMax.units == 5000)
    let short = try CompiledModel(EncoderFixtures.sentences(TokenizerFixtures.bytePairs(), tokensMax: 40)).plan
    #expect(short.extentMax.units == Limits.runTokensMin)
  }

  // MARK: - hostile graphs

  private func expectFault(_ message: String, _ spoil: (inout ModelGraph) -> Void) throws {
    var graph = try EncoderFixtures.sentences(TokenizerFixtures.wordPieces()).graph
    spoil(&graph)
    let error = #expect(throws: GraphFault.self) { try graph.check() }
    #expect(error?.message.contains(message) == true, "\(error?.message ?? "none")")
  }

  @Test func graphsThatDoNotFitTheirTokenizerAreRefused() throws {
    try expectFault("expected a tokenizer in the model, found none") { $0.tokenizer = nil }
    try expectFault("expected texts as input, found f32 [1] per row") { $0.nodes[0].inputs = [0] }
    try expectFault("text 1, expected 0 to 0") { $0.nodes[0].operation = Tokenize(column: 1, tokensMax: 16) }
    try expectFault("second text 3, expected 0 to 0") {
      $0.nodes[0].operation = Tokenize(column: 0, second: 3, tokensMax: 16)
    }
    try expectFault("expected 1 to 8192 tokens a row, found 0") { $0.nodes[0].operation = Tokenize(tokensMax: 0) }
    try expectFault("expected 1 to 8192 tokens a row, found 9000") { $0.nodes[0].operation = Tokenize(tokensMax: 9000) }
    try expectFault("expected a tokenizer that leaves at most 15 tokens, found one that leaves 16") {
      $0.nodes[0].operation = Tokenize(tokensMax: 15)
    }
    try expectFault("expected a table for 12 ids, found 11 rows and offset 0") {
      $0.tensors[0] = WeightTensor(name: "ids", shape: [11, 16], storage: .float32(.init(repeating: 0, count: 176)))
    }
    try expectFault("expected a table for 2 types, found 1 rows and offset 0") {
      $0.tensors[1] = WeightTensor(name: "types", shape: [1, 16], storage: .float32(.init(repeating: 0, count: 16)))
    }
    try expectFault("expected a table for 16 places, found 16 rows and offset 2") {
      $0.nodes[4].operation = Embedding(table: 2, index: .position, offset: 2)
    }
    try expectFault("expected i32 [1] per token in value 2, found i32 [1] per row") { $0.values[2].type.domain = .row }
    try expectFault("expected one node that tokenises, found several") {
      $0.values += [$0.values[2], $0.values[3]]
      var again = $0.nodes[0]
      (again.name, again.outputs) = ("again", [$0.values.count - 2, $0.values.count - 1])
      $0.nodes.append(again)
    }
  }
}
