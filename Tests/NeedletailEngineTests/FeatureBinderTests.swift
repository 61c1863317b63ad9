import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// `age` (missing allowed), `income` (missing refused), `colour` (red, green, blue).
private func people(unknown: Feature.UnknownPolicy = .refuse, missingColour: Feature.MissingPolicy = .impute)
  throws -> FeatureBinder
{
  var schema = ModelFixtures.logistic(unknown: unknown).schema
  schema.features[2].missing = missingColour
  return try FeatureBinder(schema)
}

extension FeatureBinder {
  /// Checks and binds a whole request.
  fileprivate func bind(_ request: TensorFixture, rowsMax: Int = 100) throws -> [Float] {
    try withExtendedLifetime(request) {
      let rows = try extent(of: request.tensors, max: BatchExtent(rows: rowsMax)).rows
      var bound = [Float](repeating: -99, count: rows * schema.features.count)
      var failure: ServingError?
      bound.withUnsafeMutableBufferPointer { buffer in
        do throws(ServingError) {
          if let base = buffer.baseAddress { try bind(request.tensors, rows: 0..<rows, into: base) }
        } catch { failure = error }
      }
      if let failure { throw failure }
      return bound
    }
  }

  fileprivate func refusal(of request: TensorFixture, rowsMax: Int = 100) -> String? {
    let error = #expect(throws: ServingError.self) { try bind(request, rowsMax: rowsMax) }
    #expect(error?.code == .invalidArgument)
    return error?.message
  }
}

private func goodColumns() -> TensorFixture {
  TensorFixture()
    .add("age", .float32, [3], [30, 40, 50] as [Float])
    .add("income", .float64, [3, 1], [1.5, 2.5, 3.5])
    .add("colour", [3], strings: ["red", "blue", "green"])
}

@Suite struct FeatureBinderTests {
  private let goodRows: [Float] = [30, 1.5, 0, 40, 2.5, 2, 50, 3.5, 1]

  // MARK: - good requests

  @Test func columnsBindByName() throws { #expect(try people().bind(goodColumns()) == goodRows) }

  @Test func columnsBindInAnyOrder() throws {
    let request = TensorFixture()
      .add("colour", [3], strings: ["red", "blue", "green"])
      .add("age", .int64, [3, 1], [30, 40, 50] as [Int64])
      .add("income", .float32, [3], [1.5, 2.5, 3.5] as [Float])
    #expect(try people().bind(request) == goodRows)
  }

  @Test func aDenseTensorOfNumbersBinds() throws {
    let floats = TensorFixture().add("features", .float32, [3, 3], goodRows)
    #expect(try people().bind(floats) == goodRows)
    let doubles = TensorFixture().add("features", .float64, [3, 3], goodRows.map { Double($0) })
    #expect(try people().bind(doubles) == goodRows)
  }

  @Test func aDenseTensorOfTextBinds() throws {
    let request = TensorFixture().add(
      "features", [3, 3], strings: ["30", "1.5", "red", " 4e1 ", "+2.50", "blue", "50.", "35e-1", "green"])
    #expect(try people().bind(request) == goodRows)
  }

  @Test func everyNumericTypeBinds() throws {
    let binder = try FeatureBinder(ModelFixtures.schema(features: 1))
    let expected: [Float] = [1, 0, 1]
    func bound<Element: BitwiseCopyable>(_ type: DataType, _ elements: [Element]) throws -> [Float] {
      try binder.bind(TensorFixture().add("x0", type, [3], elements))
    }
    #expect(try bound(.float32, [1, 0, 1] as [Float]) == expected)
    #expect(try bound(.float64, [1, 0, 1] as [Double]) == expected)
    #expect(try bound(.int8, [1, 0, 1] as [Int8]) == expected)
    #expect(try bound(.int16, [1, 0, 1] as [Int16]) == expected)
    #expect(try bound(.int32, [1, 0, 1] as [Int32]) == expected)
    #expect(try bound(.int64, [1, 0, 1] as [Int64]) == expected)
    #expect(try bound(.uint8, [1, 0, 1] as [UInt8]) == expected)
    #expect(try bound(.bool, [1, 0, 1] as [UInt8]) == expected)
    #expect(try bound(.int16, [-300, 300, 0] as [Int16]) == [-300, 300, 0])
  }

  @Test func aPartOfTheRowsBindsFromTheStart() throws {
    let request = goodColumns()
    let binder = try people()
    var bound = [Float](repeating: 0, count: 6)
    try bound.withUnsafeMutableBufferPointer { try binder.bind(request.tensors, rows: 1..<3, into: $0.baseAddress!) }
    #expect(bound == Array(goodRows[3...]))
    withExtendedLifetime(request) {}
  }

  @Test func missingValuesBecomeNaNIfTheGraphFillsThem() throws {
    let columns = TensorFixture()
      .add("age", .float32, [1], [Float.nan])
      .add("income", .float32, [1], [1] as [Float])
      .add("colour", [1], strings: [""])
    let bound = try people().bind(columns)
    #expect(bound[0].isNaN && bound[1] == 1 && bound[2].isNaN)
    let text = TensorFixture().add("features", [1, 3], strings: ["", "1", ""])
    #expect(try people().bind(text).map(\.isNaN) == [true, false, true])
  }

  @Test func unseenCategoriesFollowTheirPolicy() throws {
    let text = TensorFixture().add("features", [1, 3], strings: ["1", "2", "mauve"])
    #expect(try people(unknown: .zeros).bind(text)[2] == -1)
    #expect(try people(unknown: .other).bind(text)[2] == 3)
    let codes = TensorFixture().add("features", .float32, [1, 3], [1, 2, 7] as [Float])
    #expect(try people(unknown: .zeros).bind(codes)[2] == -1)
    #expect(try people(unknown: .other).bind(codes)[2] == 3)
  }

  @Test func aFeatureNamedFeaturesBindsByName() throws {
    var schema = ModelFixtures.schema(features: 1)
    schema.features[0].name = "features"
    let binder = try FeatureBinder(schema)
    #expect(try binder.bind(TensorFixture().add("features", .float32, [2], [1, 2] as [Float])) == [1, 2])
    #expect(try binder.bind(TensorFixture().add("features", .float32, [2, 1], [1, 2] as [Float])) == [1, 2])
  }

  @Test func everyOneOfManyCategoriesIsFound() throws {
    let categories = (0..<5000).map { "category-\($0 * 7919 % 5000)-\($0)" }
    let schema = FeatureSchema(
      features: [
        Feature(name: "c", kind: .categorical(categories: categories, unknown: .refuse), missing: .refuse)
      ], target: "y")
    let request = TensorFixture().add("c", [5000], strings: categories)
    #expect(try FeatureBinder(schema).bind(request, rowsMax: 5000) == (0..<5000).map { Float($0) })
  }

  @Test(.enabled(if: Allocations.areCounted))
  func aGoodRequestAllocatesNothing() throws {
    let binder = try people()
    let shuffled = TensorFixture()
      .add("colour", [2], strings: ["blue", "red"])
      .add("age", .float64, [2], [1.0, 2])
      .add("income", [2], strings: ["123.25", "-1e-3"])
    let dense = TensorFixture().add("features", .float32, [2, 3], [1, 2, 0, 3, 4, 1] as [Float])
    var bound = [Float](repeating: 0, count: 6)
    // The first round fills the runtime's caches of generic types, once per process.
    for request in [shuffled, dense] { _ = try binder.bind(request) }
    for request in [shuffled, dense] {
      let count = bound.withUnsafeMutableBufferPointer { buffer in
        Allocations.during {
          let rows = try? binder.extent(of: request.tensors, max: BatchExtent(rows: 10)).rows
          try? binder.bind(request.tensors, rows: 0..<(rows ?? 0), into: buffer.baseAddress!)
        }
      }
      #expect(count == 0)
    }
    #expect(bound == [1, 2, 0, 3, 4, 1])
  }

  // MARK: - refused requests

  @Test func aNumberBeyondFP32IsRefusedInRowsOfF64Too() throws {
    let schema = FeatureSchema(features: [Feature(name: "x", kind: .numeric, missing: .impute)], target: "y")
    let binder = try FeatureBinder(schema, element: .float64)
    var row = 0.0
    for cell in [Cell.number(1e300), .number(-3.5e38), .text("1e39")] {
      let error = #expect(throws: ServingError.self) { try binder.bind([cell], into: &row) }
      #expect(
        error?.message.hasPrefix("feature \"x\", row 0: expected a number within ±3.4028235e+38, found ") == true,
        "\(error?.message ?? "")")
    }
    try binder.bind([.number(3.4e38)], into: &row)
    #expect(row == 3.4e38)
    try binder.bind([.missing], into: &row)
    #expect(row.isNaN)
  }

  struct BadRequest: Sendable, CustomTestStringConvertible {
    var name: String
    var message: String
    var request: TensorFixture
    var testDescription: String { name }

    init(_ name: String, _ message: String, _ request: TensorFixture) {
      (self.name, self.message, self.request) = (name, message, request)
    }

    private static func dense(_ cells: [String]) -> TensorFixture {
      TensorFixture().add("features", [1, 3], strings: cells)
    }
    private static func dense(_ numbers: [Double]) -> TensorFixture {
      TensorFixture().add("features", .float64, [1, 3], numbers)
    }
    private static func age(_ tensor: (TensorFixture) -> Void) -> TensorFixture {
      let request = TensorFixture()
        .add("income", .float32, [3], [1, 2, 3] as [Float])
        .add("colour", [3], strings: ["red", "red", "red"])
      tensor(request)
      return request
    }
    private static let three: [Float] = [1, 2, 3]

    static let all: [BadRequest] = [
      .init(
        "nothing",
        "inputs: expected a tensor \"features\" of shape [rows, 3], or one tensor for each of 3 features, found none",
        TensorFixture()),
      .init("missing feature", "input \"age\": expected a tensor, found none", age { _ in }),
      .init(
        "duplicate feature", "input \"income\": expected it once, found it again",
        age { $0.add("income", .float32, [3], three) }),
      .init(
        "unknown name",
        "unknown input \"agee\", expected one of \"age\", \"income\", \"colour\", did you mean \"age\"?",
        age { $0.add("agee", .float32, [3], three) }),
      .init(
        "dense beside columns", "input \"features\": expected no other inputs beside it",
        age { $0.add("features", .float32, [3], three) }),
      .init("fewer rows", "input \"age\": expected 3 rows, found 2", age { $0.add("age", .float32, [2], three) }),
      .init("no rows", "input \"age\": expected at least 1 row, found 0", TensorFixture().add("age", .float32, [0])),
      .init(
        "too many rows", "input \"age\": expected at most 100 rows, found 101",
        TensorFixture().add("age", .float32, [101])),
      .init(
        "absurd rows", "input \"age\": expected at most 100 rows, found 18446744073709551615",
        TensorFixture().add("age", .float32, [.max])),
      .init(
        "scalar", "input \"age\": expected shape [rows] or [rows, 1], found []",
        TensorFixture().add("age", .float32, [])),
      .init(
        "column of rank 3", "input \"age\": expected shape [rows] or [rows, 1], found [3, 1, 1]",
        TensorFixture().add("age", .float32, [3, 1, 1], three)),
      .init(
        "column of width 2", "input \"age\": expected shape [rows] or [rows, 1], found [3, 2]",
        TensorFixture().add("age", .float32, [3, 2], three)),
      .init(
        "rank of 12", "found [1, 1, 1, 1, 1, 1, 1, 1, …]",
        TensorFixture().add("age", .float32, Array(repeating: 1, count: 12))),
      .init(
        "short data", "input \"age\": expected 12 bytes for FLOAT32 [3], found 8",
        TensorFixture().add("age", .float32, [3], [1, 2] as [Float])),
      .init(
        "long data", "input \"age\": expected 12 bytes for FLOAT32 [3], found 16",
        TensorFixture().add("age", .float32, [3], [1, 2, 3, 4] as [Float])),
      .init(
        "numbers as strings", "input \"age\": expected 0 strings for FLOAT32 [1], found 1",
        TensorFixture().add("age", .float32, [1], data: [0, 0, 0, 0], strings: [[49]])),
      .init(
        "strings with data", "input \"age\": expected 0 bytes for STRING [1], found 1",
        TensorFixture().add("age", .string, [1], data: [7], strings: [[49]])),
      .init(
        "too few strings", "input \"colour\": expected 3 strings for STRING [3], found 2",
        TensorFixture().add("colour", [3], strings: ["red", "red"])),
      .init(
        "no such type", "input \"age\": expected a known data type, found none",
        TensorFixture().add("age", nil, [1], data: [0])),
      .init(
        "numbers for categories", "input \"colour\": expected type STRING for a categorical feature, found INT64",
        TensorFixture().add("colour", .int64, [1], [1] as [Int64])),
      .init(
        "dense of rank 1", "input \"features\": expected shape [rows, 3], found [3]",
        TensorFixture().add("features", .float32, [3], three)),
      .init(
        "dense of width 2", "input \"features\": expected 3 columns, found 2",
        TensorFixture().add("features", .float32, [1, 2], [1, 2] as [Float])),
      .init(
        "dense of absurd size", "input \"features\": expected at most 100 rows, found 9223372036854775808",
        TensorFixture().add("features", .float32, [1 << 63, 3])),
      .init("NaN where refused", "feature \"income\", row 0: expected a value, found none", dense([1, .nan, 0])),
      .init("empty where refused", "feature \"income\", row 0: expected a value, found none", dense(["1", "", "red"])),
      .init("infinity", "feature \"age\", row 0: expected a finite number, found inf", dense([.infinity, 1, 0])),
      .init(
        "fp32 infinity", "feature \"income\", row 0: expected a finite number, found -inf",
        TensorFixture().add("features", .float32, [1, 3], [1, -.infinity, 0] as [Float])),
      .init("beyond fp32", "expected a number within ±3.4028235e+38, found 1e+300", dense([1e300, 1, 0])),
      .init(
        "text beyond fp32", "feature \"age\", row 0: expected a number within ±3.4028235e+38, found \"1e999\"",
        dense(["1e999", "1", "red"])),
      .init("words", "feature \"age\", row 0: expected a number, found \"old\"", dense(["old", "1", "red"])),
      .init("the word nan", "expected a number, found \"nan\"", dense(["nan", "1", "red"])),
      .init("the word inf", "expected a number, found \"inf\"", dense(["inf", "1", "red"])),
      .init("hexadecimal", "expected a number, found \"0x10\"", dense(["0x10", "1", "red"])),
      .init("digit grouping", "expected a number, found \"1,000\"", dense(["1,000", "1", "red"])),
      .init("half an exponent", "expected a number, found \"1e\"", dense(["1e", "1", "red"])),
      .init("a lone point", "expected a number, found \".\"", dense([".", "1", "red"])),
      .init("only spaces", "expected a number, found \"  \"", dense(["  ", "1", "red"])),
      .init("a NUL inside", "expected a number, found \"1\\u{0}2\"", dense(["1\u{0}2", "1", "red"])),
      .init(
        "very long number", "expected a number, found \"1111", dense([String(repeating: "1", count: 401), "1", "red"])),
      .init(
        "unknown category",
        "feature \"colour\", row 0: unknown category \"blu\", expected one of \"red\", \"green\", \"blue\", did you mean \"blue\"?",
        dense(["1", "1", "blu"])),
      .init(
        "category code beyond", "unknown category code 3.0, expected a whole number from 0 to 2", dense([1, 1, 3])),
      .init("negative category code", "unknown category code -1.0", dense([1, 1, -1])),
      .init("half a category", "unknown category code 0.5", dense([1, 1, 0.5])),
      .init(
        "broken UTF-8", "feature \"colour\", row 0: expected UTF-8 text, found \"r\u{FFFD}d\"",
        TensorFixture().add("features", .string, [1, 3], strings: [[49], [49], [0x72, 0xff, 0x64]])),
      .init(
        "odd bool", "feature \"age\", row 2: expected a BOOL byte of 0 or 1, found 2",
        age { $0.add("age", .bool, [3], [0, 1, 2] as [UInt8]) }),
      .init(
        "fault in a later row", "feature \"age\", row 1: expected a finite number, found inf",
        age { $0.add("age", .float32, [3], [1, .infinity, 3] as [Float]) }),
      .init(
        "very long name",
        "unknown input \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…\", expected one of",
        TensorFixture().add(String(repeating: "a", count: 100_000), .float32, [1], [1] as [Float])),
    ]
  }

  @Test(arguments: BadRequest.all)
  func aWrongCallIsRefusedWithOneSentence(_ bad: BadRequest) throws {
    let message = try people().refusal(of: bad.request)
    #expect(message?.contains(bad.message) == true, "\(message ?? "")")
  }

  @Test func longListsOfCategoriesAreCut() throws {
    let categories = (0..<100).map { "shade \($0)" }
    let schema = FeatureSchema(
      features: [Feature(name: "c", kind: .categorical(categories: categories, unknown: .refuse), missing: .refuse)],
      target: "y")
    let message = try FeatureBinder(schema).refusal(of: TensorFixture().add("c", [1], strings: ["mauve"]))
    #expect(
      message
        == "feature \"c\", row 0: unknown category \"mauve\", expected one of \"shade 0\", \"shade 1\", \"shade 2\", \"shade 3\", \"shade 4\" and 95 more"
    )
  }

  @Test func missingCategoriesAreRefusedWhereTheModelSaysSo() throws {
    let binder = try people(missingColour: .refuse)
    let request = TensorFixture().add("features", [1, 3], strings: ["1", "1", ""])
    #expect(binder.refusal(of: request) == "feature \"colour\", row 0: expected a value, found none")
  }

  @Test func oddPoliciesDoNotExcuseBrokenText() throws {
    let request = TensorFixture().add("features", .string, [1, 3], strings: [[49], [49], [0xc0, 0x80]])
    #expect(try people(unknown: .zeros).refusal(of: request)?.contains("expected UTF-8 text") == true)
  }

  // MARK: - cells

  private func bound(_ cells: [Cell], row: Int = 0) throws -> [Float] {
    let binder = try people()
    var bound = [Float](repeating: 0, count: 3)
    try bound.withUnsafeMutableBufferPointer { try binder.bind(cells, row: row, into: $0.baseAddress!) }
    return bound
  }

  @Test func cellsBindInSchemaOrder() throws {
    #expect(try bound([.number(30), .text("2.5"), .text("green")]) == [30, 2.5, 1])
    #expect(try bound([.number(30), .number(1), .number(2)]) == [30, 1, 2])
    #expect(try bound([.missing, .number(1), .missing]).map(\.isNaN) == [true, false, true])
  }

  @Test(arguments: [
    ([Cell.number(1)], "row 4: expected 3 cells, found 1"),
    ([.number(1), .missing, .text("red")], "feature \"income\", row 4: expected a value, found none"),
    ([.number(1), .number(.nan), .text("red")], "feature \"income\", row 4: expected a value, found none"),
    ([.number(.infinity), .number(1), .text("red")], "feature \"age\", row 4: expected a finite number, found inf"),
    ([.text("x"), .number(1), .text("red")], "feature \"age\", row 4: expected a number, found \"x\""),
  ])
  func cellsAreRefusedWithOneSentence(cells: [Cell], message: String) {
    let error = #expect(throws: ServingError.self) { try bound(cells, row: 4) }
    #expect(error?.message == message)
  }
}
