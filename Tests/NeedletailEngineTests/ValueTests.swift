import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// `proto/README.md`, Values, as the server reads what a client sends.
@Suite("Text becomes a value by the model's rules") struct ValueTests {
  private let golden = ValueCells.golden

  /// Both features of one row of text; nil where the row is refused.
  private func bind(
    _ request: TensorFixture, _ schema: FeatureSchema, element: ValueType.Element = .float32
  ) throws -> [Double]? {
    let binder = try FeatureBinder(schema, element: element)
    return try withExtendedLifetime(request) {
      guard try binder.extent(of: request.tensors, max: BatchExtent(rows: 1)).rows == 1 else { return nil }
      var floats = [Float](repeating: -99, count: schema.features.count)
      var doubles = [Double](repeating: -99, count: schema.features.count)
      do {
        if element == .float64 {
          try doubles.withUnsafeMutableBytes { try binder.bind(request.tensors, rows: 0..<1, into: $0.baseAddress!) }
          return doubles
        }
        try floats.withUnsafeMutableBytes { try binder.bind(request.tensors, rows: 0..<1, into: $0.baseAddress!) }
        return floats.map { Double($0) }
      } catch let error as ServingError {
        #expect(error.code == .invalidArgument)
        return nil
      }
    }
  }

  /// A row of one tensor a feature, and the same row as one tensor of text.
  private func requests(size: String, colour: String) -> [TensorFixture] {
    [
      TensorFixture().add("size", [1], strings: [size]).add("colour", [1], strings: [colour]),
      TensorFixture().add("features", [1, 2], strings: [size, colour]),
    ]
  }

  @Test(arguments: [ValueType.Element.float32, .float64])
  func everyCellOfTheGoldenTableIsReadAsItSays(element: ValueType.Element) throws {
    for cell in golden.cells {
      guard let text = cell.wire else { continue }
      for request in requests(size: text, colour: "red") {
        let found = try bind(request, golden.schema, element: element)?[0]
        switch cell.numeric {
        case .number(let number):
          #expect(found == (element == .float64 ? number : Double(Float(number))), "\(cell.name)")
        case .missing: #expect(found?.isNaN == true, "\(cell.name)")
        case .refused: #expect(found == nil, "\(cell.name)")
        }
      }
      for request in requests(size: "0", colour: text) {
        let found = try #require(try bind(request, golden.schema, element: element)?[1], "\(cell.name)")
        switch cell.category {
        case .category(let name):
          #expect(found == golden.categories.firstIndex(of: name).map { Double($0) }, "\(cell.name)")
        case .missing: #expect(found.isNaN, "\(cell.name)")
        case .unknown: #expect(found == -1, "\(cell.name)")
        }
      }
    }
  }

  @Test func aRowOfCellsIsReadAsTheSameRowOfText() throws {
    let binder = try FeatureBinder(golden.schema)
    for cell in golden.cells {
      guard let text = cell.wire, case .category(let name) = cell.category else { continue }
      var bound = [Float](repeating: -99, count: 2)
      try bound.withUnsafeMutableBytes { try binder.bind([.number(0), .text(text)], into: $0.baseAddress!) }
      #expect(bound[1] == golden.categories.firstIndex(of: name).map { Float($0) }, "\(cell.name)")
    }
  }

  @Test(arguments: ["size ", "\tsize", "size"]) func namesAreReadAsTextIs(name: String) throws {
    let request = TensorFixture().add("colour", [1], strings: ["red"]).add(name, .float32, [1], [7] as [Float])
    #expect(try bind(request, golden.schema) == [7, 0])
    var accented = golden.schema
    accented.features[0].name = "caf\u{E9}"
    let decomposed = TensorFixture().add("cafe\u{301}", .float32, [1], [7] as [Float]).add(
      "colour", [1], strings: ["1.0"])
    #expect(try bind(decomposed, accented) == [7, 4])
  }

  @Test func oneColumnUnderTwoSpellingsIsRefused() throws {
    let binder = try FeatureBinder(golden.schema)
    let request = TensorFixture().add("size", .float32, [1], [7] as [Float]).add(" size", .float32, [1], [8] as [Float])
    let error = #expect(throws: ServingError.self) { try binder.extent(of: request.tensors, max: BatchExtent(rows: 1)) }
    #expect(error?.message == "input \" size\": expected it once, found it again")
    withExtendedLifetime(request) {}
  }

  @Test func aModelWithoutRulesStillComparesBytes() throws {
    var schema = golden.schema
    schema.rules = nil
    // By [V15]: what each text is to a numeric and to a categorical feature, nil where it is refused.
    let cells: [(text: String, size: Double?, colour: Double)] = [
      (" 5\t", 5, -1), ("true", nil, -1), ("NA", nil, 2), ("N/A", nil, -1), (" red", nil, -1), ("e\u{301}", nil, -1),
      ("True", nil, 3), ("1.0", 1, -1), ("1", 1, 4), (" ", nil, -1),
    ]
    for cell in cells {
      for request in requests(size: cell.text, colour: "red") {
        #expect(try bind(request, schema)?[0] == cell.size, "\(cell.text.debugDescription)")
      }
      for request in requests(size: "0", colour: cell.text) {
        #expect(try bind(request, schema)?[1] == cell.colour, "\(cell.text.debugDescription)")
      }
    }
    for request in requests(size: "", colour: "") {
      #expect(try bind(request, schema)?.map(\.isNaN) == [true, true])
    }
    let spaced = TensorFixture().add("size ", .float32, [1], [7] as [Float]).add("colour", [1], strings: ["red"])
    #expect(throws: ServingError.self) { try bind(spaced, schema) }
  }

  @Test func bytesThatAreNotUTF8AreRefused() throws {
    let request = TensorFixture().add("features", .string, [1, 2], strings: [Array("1".utf8), [0xC3, 0x28]])
    #expect(try bind(request, golden.schema) == nil)
  }

  @Test(arguments: [
    (
      "a word twice as long as allowed", ValueRules(missing: (0...256).map { "w\($0)" }),
      "missing words: expected at most 256, found 257"
    ),
    (
      "a word with a space", ValueRules(missing: ["NA "]),
      "missing word \"NA \": expected text in the form NFC without spaces around it, found other"
    ),
    (
      "an empty word", ValueRules(missing: [""]),
      "missing word \"\": expected text in the form NFC without spaces around it, found other"
    ),
  ])
  func rulesThatContradictThemselvesAreRefused(fault: String, rules: ValueRules, message: String) {
    var schema = golden.schema
    schema.rules = rules
    let error = #expect(throws: PlanError.self) { try FeatureBinder(schema) }
    #expect(error?.message == "schema: \(message)")
  }

  @Test(arguments: [
    (["a", "a "], "category \"a \": expected text in the form NFC without spaces around it, found other"),
    (
      ["true", "True"],
      "category \"True\": expected categories that read differently, found another that reads as this one"
    ),
    (
      ["1", "1.00"],
      "category \"1.00\": expected categories that read differently, found another that reads as this one"
    ),
  ])
  func categoriesThatReadAlikeAreRefused(categories: [String], message: String) {
    var schema = golden.schema
    schema.features[1].kind = .categorical(categories: categories, unknown: .refuse)
    let error = #expect(throws: PlanError.self) { try FeatureBinder(schema) }
    #expect(error?.message == "schema: feature \"colour\": \(message)")
  }
}
