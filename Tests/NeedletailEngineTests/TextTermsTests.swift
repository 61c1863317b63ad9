import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// One way to spoil a good operation, and words its error must hold.
private struct HostileTerms: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var message: String
  var spoil: @Sendable (inout TextTerms) -> Void

  init(_ name: String, _ message: String, _ spoil: @escaping @Sendable (inout TextTerms) -> Void) {
    (testDescription, self.message, self.spoil) = (name, message, spoil)
  }

  static let all: [HostileTerms] = [
    .init("text out of range", "reads text 2, expected 0 to 1") { $0.text = 2 },
    .init("no units", "expected terms of 1 to 16 units, found 0 to 2") { $0.analyser.shortest = 0 },
    .init("units the wrong way round", "found 3 to 2") { ($0.analyser.shortest, $0.analyser.longest) = (3, 2) },
    .init("too many units", "found 1 to 17") { $0.analyser.longest = 17 },
    .init("no terms", "expected 1 to 1048576 terms or buckets, found 0") {
      ($0.columns, $0.idf) = (.vocabulary(TermList([String]())), [])
    },
    .init("too many buckets", "found 1048577") { $0.columns = .hashed(buckets: 1_048_577, isSigned: false) },
    .init("terms out of order", "term 1: expected UTF-8 that stands behind") {
      $0.columns = .vocabulary(TermList(["b", "a"]))
    },
    .init("a term twice", "term 1: expected UTF-8 that stands behind") {
      $0.columns = .vocabulary(TermList(["a", "a"]))
    },
    .init("an empty term", "term 0: expected UTF-8") { $0.columns = .vocabulary(TermList(["", "a"])) },
    .init("logarithms of signed counts", "expected no logarithms of signed counts") {
      $0.columns = .hashed(buckets: 9, isSigned: true)
      $0.isSublinear = true
    },
    .init("too few factors", "expected 9 factors of terms, found 1") { $0.idf = [1] },
    .init("a factor that is no number", "factors of terms, column 3: expected a finite number, found nan") {
      $0.idf[3] = .nan
    },
  ]
}

/// Terms against their definition in plain Swift; `Tests/text/run` compares them with scikit-learn's.
@Suite("Terms of texts")
struct TextTermsTests {
  static let words = ModelFixtures.topics().graph.nodes[0].operation as! TextTerms
  static let operations: [TextTerms] =
    TextTerms.Unit.allCases.flatMap { unit in
      [(1, 1), (1, 3), (2, 5), (4, 4)].flatMap { shortest, longest in
        [false, true].flatMap { keepsCase -> [TextTerms] in
          let analyser = TextTerms.Analyser(unit: unit, shortest: shortest, longest: longest, keepsCase: keepsCase)
          return [
            TextTerms(text: 1, analyser: analyser, columns: .hashed(buckets: 97, isSigned: true)),
            TextTerms(
              text: 1, analyser: analyser,
              columns: .vocabulary(TermList([" n", "a", "an", "and", "no", "not", "not good"])),
              isBinary: keepsCase, isSublinear: true, idf: [1, 2, 3, 4, 5, 6, 7], norm: keepsCase ? .l1 : .none),
          ]
        }
      }
    }

  /// A graph of one operation on the second of two texts, with a layer behind it where there are outputs.
  private func definition(_ operation: TextTerms, outputs: Int = 0, isHidden: Bool = true) -> ModelDefinition {
    let columns = operation.columnCount
    var random = SplitMix64(seed: UInt64(columns + outputs))
    var graph = ModelGraph(
      task: .regression,
      values: [
        .init(name: "row", columns: 2), .init(name: "texts", type: ValueType(.text, [2])),
        .init(name: "terms", columns: columns),
      ],
      nodes: [Node(name: "terms", input: 1, output: 2, operation: operation)],
      outputs: [.init(name: "terms", value: 2, kind: .number)], tensors: [], textInput: 1)
    if outputs > 0 {
      graph.values.append(.init(name: "y", columns: outputs))
      graph.nodes.append(
        Node(name: "layer", input: 2, output: 3, operation: Dense(weights: 0, bias: 1, activation: .tanh)))
      graph.tensors = [
        WeightTensor(
          name: "w", shape: [outputs, columns],
          storage: .float32((0..<outputs * columns).map { _ in random.nextFloat() - 0.5 })),
        WeightTensor(
          name: "b", shape: [outputs], storage: .float32((0..<outputs).map { _ in random.nextFloat() - 0.5 })),
      ]
      graph.outputs = [.init(name: "y", value: 3, kind: .number)]
      // Another reader of the terms keeps the layer apart from them.
      if !isHidden { graph.outputs.append(.init(name: "terms", value: 2, kind: .number)) }
    }
    let features = ["a", "b"].map { Feature(name: $0, kind: .text, missing: .impute) }
    return ModelDefinition(schema: FeatureSchema(features: features, target: "y"), graph: graph, labels: [])
  }

  private func answers(
    _ definition: ModelDefinition, _ texts: [String], isa: InstructionSet? = nil, rowsMax: Int = 64
  ) throws -> [Double] {
    var options = PlanOptions()
    options.isa = isa
    options.rowsMax = rowsMax
    let model = try CompiledModel(definition, options: options)
    let rows = texts.map { [Cell.text("another"), .text($0)] }
    guard case .numbers(let numbers) = try model.answers(for: rows)[0].answer else { return [] }
    return numbers
  }

  @Test(arguments: operations.indices)
  func termsAreThoseOfTheirDefinition(index: Int) throws {
    let operation = Self.operations[index]
    let definition = definition(operation)
    let texts = ModelFixtures.reviews(60, seed: UInt64(index)) + ["", " ", "a", "not good and no", "\u{0}\u{1}\u{1D}b"]
    let expected = texts.flatMap { definition.graph.reference([0, 0], texts: ["another", $0])[2] }
    for isa in InstructionSet.supported {
      let found = try answers(definition, texts, isa: isa)
      #expect(found.count == expected.count)
      for (x, y) in zip(found, expected) { #expect(x == Double(Float(y)), "\(operation.words)") }
    }
  }

  @Test(arguments: [1, 2, 3, 8, 15, 16, 17, 40])
  func theLayerBehindTermsHasTheBitsOfOneApart(outputs: Int) throws {
    for operation in [Self.operations[0], Self.operations[3], Self.words.of(text: 1)] {
      let texts = ModelFixtures.reviews(70, seed: 9) + [""]
      let apart = try answers(definition(operation, outputs: outputs, isHidden: false), texts, isa: .scalar)
      for isa in InstructionSet.supported {
        for rowsMax in [1, 64] {
          let joined = try answers(definition(operation, outputs: outputs), texts, isa: isa, rowsMax: rowsMax)
          #expect(joined.map(\.bitPattern) == apart.map(\.bitPattern))
        }
      }
    }
  }

  @Test func noRowOfTermsIsWrittenInFrontOfALayer() throws {
    let plan = try CompiledModel(ModelFixtures.topics()).plan
    #expect(plan.steps.count { $0.kernel == "terms" } == 2)
    #expect(plan.steps.filter { $0.kernel == "terms" }.allSatisfy { $0.outputColumns == 3 })
    #expect(
      !ModelFixtures.topics().graph.nodes.indices.contains {
        ModelFixtures.topics().graph.readsIndicators($0) && $0 != 3 && $0 != 4
      })
  }

  @Test func aLongTextIsCountedWhole() throws {
    let text = String(repeating: "not good and ", count: 5000)
    let operation = TextTerms(
      text: 1, analyser: .init(unit: .words, shortest: 1, longest: 2),
      columns: .vocabulary(TermList(["and", "and not", "good", "not good"])), norm: .none)
    #expect(
      try answers(definition(operation), [text, "", "x" + text]) == [
        5000, 4999, 5000, 5000, 0, 0, 0, 0, 5000, 4999, 5000, 4999,
      ])
    // One word of a megabyte, of which each character is a term.
    var options = PlanOptions()
    options.textBytesMax = 1 << 20
    let characters = TextTerms(
      text: 1, analyser: .init(unit: .characters), columns: .vocabulary(TermList(["a", "é"])), norm: .none)
    let model = try CompiledModel(definition(characters), options: options)
    let row = [Cell.missing, .text(String(repeating: "é", count: 1 << 19))]
    #expect(try model.answers(for: [row])[0].answer == .numbers([0, Double(1 << 19)]))
  }

  @Test(.enabled(if: Allocations.areCounted))
  func termsAreFoundWithoutAllocating() throws {
    let model = try CompiledModel(ModelFixtures.topics())
    let workspace = try Workspace(model.plan)
    let reviews = ModelFixtures.reviews(8)
    _ = try model.binder.bind(rows: 8, from: 0, for: model.plan, into: workspace.rows) {
      [.text(reviews[$0]), .number(1)]
    }
    #expect(Allocations.during { model.plan.run(workspace, rows: 8) } == 0)
  }

  @Test(arguments: HostileTerms.all)
  fileprivate func contradictionsAreNamed(_ hostile: HostileTerms) throws {
    var operation = Self.words.of(text: 1)
    hostile.spoil(&operation)
    let columns = max(1, operation.columnCount)
    var definition = definition(Self.words.of(text: 1))
    definition.graph.nodes[0].operation = operation
    if columns <= Limits.columnsMax { definition.graph.values[2].columns = columns }
    let error = #expect(throws: PlanError.self) { try CompiledModel(definition) }
    #expect(error?.message.contains(hostile.message) == true, "\(error?.message ?? "")")
    #expect(error?.node == "terms")
  }
}

extension TextTerms {
  /// These terms in another text.
  fileprivate func of(text: Int) -> TextTerms {
    var terms = self
    terms.text = text
    return terms
  }
}
