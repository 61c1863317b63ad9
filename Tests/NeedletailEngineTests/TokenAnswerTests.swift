import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Answers that point into a text: spans and entities.
@Suite struct TokenAnswerTests {
  private var random = SplitMix64(seed: 36)

  /// Answers of the plan on one instruction set.
  private func answers(_ definition: ModelDefinition, _ rows: [[String]], _ isa: InstructionSet) throws -> [[Double]] {
    var options = PlanOptions()
    options.isa = isa
    let model = try CompiledModel(definition, options: options)
    guard case .numbers(let all) = try model.answers(for: rows.map { $0.map { .text($0) } })[0].answer else {
      return []
    }
    let width = all.count / rows.count
    return rows.indices.map { Array(all[$0 * width..<($0 + 1) * width]) }
  }

  private func references(_ definition: ModelDefinition, _ rows: [[String]]) throws -> [[Double]] {
    let tokenizer = try #require(definition.graph.tokenizer)
    return try rows.map { row in
      let found = try tokenizer.encode(Array(row[0].utf8), row.count > 1 ? Array(row[1].utf8) : nil)
      let spans = found.ids.indices.map { token in
        [
          Double(found.starts[token]), Double(found.ends[token]), Double(found.words[token] ?? -1),
          Double(found.texts[token]),
        ]
      }
      return definition.graph.reference(known: [
        2: found.ids.map { [Double($0)] }, 3: found.types.map { [Double($0)] }, 4: spans,
      ])[6][0]
    }
  }

  private static let texts = [
    "fast", "", "anser fast an", "faster an answer", "x x fast", "ananser",
    "fast fast faster anser an an fast x fast an",
  ]

  @Test(arguments: [1, 2, 30])
  mutating func answersOfAPairAreTheirDefinition(tokensMax: Int) throws {
    let table = (0..<12).map { _ in [random.nextFloat() * 4, random.nextFloat() * 4] }
    let definition = try PlaceFixtures.definition(
      AnswerSpan(sequence: 1, tokensMax: tokensMax), columns: 3, table: table, hasPair: true)
    let rows = Self.texts.flatMap { first in Self.texts.map { [first, $0] } }
    let expected = try references(definition, rows)
    for isa in InstructionSet.supported {
      for (x, y) in zip(expected, try answers(definition, rows, isa)) {
        #expect(x[0] == y[0] && x[1] == y[1], "\(isa): expected \(x), found \(y)")
        #expect(abs(x[2] - y[2]) < 1e-6, "\(isa): expected \(x), found \(y)")
      }
    }
  }

  @Test func anAnswerNamesTheBytesOfItsText() throws {
    // "an" begins an answer and "##er" ends one; the question holds both and does not count.
    var table = [[Float]](repeating: [0, 0], count: 12)
    table[6] = [9, 0]
    table[5] = [0, 9]
    let definition = try PlaceFixtures.definition(
      AnswerSpan(sequence: 1, tokensMax: 30), columns: 3, table: table, hasPair: true)
    let found = try answers(definition, [["an faster", "fast an fast faster fast"], ["an", ""]], .selected)
    // "an fast faster"
    #expect(found[0][0] == 5 && found[0][1] == 19)
    #expect(found[0][2] > 0.99)
    #expect(found[1] == [0, 0, 0])
  }

  @Test mutating func entitiesAreTheirDefinition() throws {
    let tags: [Entities.Tag] = [
      .init(kind: nil), .init(kind: 0, begins: true), .init(kind: 0), .init(kind: 1, begins: true), .init(kind: 1),
    ]
    for entitiesMax in [1, 3, 12] {
      let table = (0..<12).map { _ in (0..<5).map { _ in random.nextFloat() * 3 } }
      let definition = try PlaceFixtures.definition(
        Entities(tags: tags, entitiesMax: entitiesMax), columns: 4 * entitiesMax, table: table, hasSoftmax: true)
      let rows = Self.texts.map { [$0] }
      let expected = try references(definition, rows).flatMap { $0 }
      for isa in InstructionSet.supported {
        let found = try answers(definition, rows, isa).flatMap { $0 }
        try #require(found.count == expected.count)
        for (x, y) in zip(expected, found) { #expect(abs(x - y) < 1e-6, "\(isa): expected \(x), found \(y)") }
      }
    }
  }

  @Test func neighboursOfOneKindAreOneEntity() throws {
    // "fast" begins a name and "an" goes on with it; "x", which is unknown, is neither. Later tokens of a word do not
    // count.
    let tags: [Entities.Tag] = [.init(kind: nil), .init(kind: 0, begins: true), .init(kind: 0)]
    var table = [[Float]](repeating: [9, 0, 0], count: 12)
    table[4] = [0, 9, 0]
    table[6] = [0, 0, 9]
    let definition = try PlaceFixtures.definition(
      Entities(tags: tags, entitiesMax: 3), columns: 12, table: table, hasSoftmax: true)
    let found = try answers(definition, [["x faster anser fast x an"]], .selected)[0]
    // "faster anser", then "fast", then "an".
    #expect([0, 1, 2, 4, 5, 6, 8, 9, 10].map { found[$0] } == [0, 2, 14, 0, 15, 19, 0, 22, 24])
    #expect([3, 7, 11].allSatisfy { found[$0] > 0.99 })
  }

  @Test func whatDoesNotFitIsRefused() throws {
    func expectFault(_ message: String, _ operation: any GraphOperation, columns: Int = 3) throws {
      let graph = try PlaceFixtures.definition(
        operation, columns: columns, table: [[Float]](repeating: [0, 0], count: 12)
      ).graph
      let error = #expect(throws: GraphFault.self) { try graph.check() }
      #expect(error?.message.contains(message) == true, "\(error?.message ?? "none")")
    }
    try expectFault("expected text 0 or 1, found 2", AnswerSpan(sequence: 2, tokensMax: 3))
    try expectFault("expected answers of 1 to 8192 tokens, found 0", AnswerSpan(sequence: 0, tokensMax: 0))
    try expectFault("expected 3 output columns, found 4", AnswerSpan(sequence: 0, tokensMax: 3), columns: 4)
    let two = [Entities.Tag(kind: nil), Entities.Tag(kind: 0)]
    try expectFault(
      "expected f32 [3] per token as input, found f32 [2] per token", Entities(tags: two + [two[0]], entitiesMax: 1))
    try expectFault("expected kinds from 0 to 1, found 7", Entities(tags: [two[0], .init(kind: 7)], entitiesMax: 1))
    try expectFault("expected 1 to 1024 entities, found 0", Entities(tags: two, entitiesMax: 0))
    try expectFault("expected 4 output columns, found 3", Entities(tags: two, entitiesMax: 1))
    try expectFault("classes, found 0", Entities(tags: [], entitiesMax: 1))
  }
}
