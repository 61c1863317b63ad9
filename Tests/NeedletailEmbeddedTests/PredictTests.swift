import CNeedletailEmbedded
import NeedletailBundle
import NeedletailCore
import NeedletailEmbedded
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Predictions through the C interface, against the engine's own answers.
@Suite struct PredictTests {
  private static let widths = [8, 16, 3]

  private static func rows(_ count: Int) -> [[Float]] {
    var random = SplitMix64(seed: 5)
    return (0..<count).map { _ in (0..<widths[0]).map { _ in random.nextFloat() } }
  }

  /// What the engine answers by itself.
  private static func expected(_ definition: ModelDefinition, _ rows: [[Float]]) throws -> [String: [Double]] {
    var numbers: [String: [Double]] = [:]
    let cells = rows.map { $0.map { Cell.number(Double($0)) } }
    for (name, answer) in try CompiledModel(definition).answers(for: cells) {
      if case .numbers(let values) = answer { numbers[name] = values }
    }
    return numbers
  }

  @Test(arguments: [ModelFixtures.Precision.float32, .int8], [1, 7, 256, 257, 1000])
  func numbersAreThoseOfThePlan(precision: ModelFixtures.Precision, count: Int) throws {
    let definition = ModelFixtures.mlp(widths: Self.widths, precision: precision)
    let rows = Self.rows(count)
    let expected = try Self.expected(definition, rows)
    let context = try OpenedModel(.init(definition: definition)).context()
    let found = try context.floats(rows, columns: 3)
    #expect(found.map { Double($0) } == expected["probabilities"])
  }

  @Test(arguments: [UInt32(1), 3, 4096])
  func rowsOfOneRunDoNotChangeAnAnswer(rowsPerRun: UInt32) throws {
    let definition = ModelFixtures.mlp(widths: Self.widths, precision: .int8)
    let rows = Self.rows(10)
    let model = try OpenedModel(.init(definition: definition), rowsPerRun: rowsPerRun)
    let expected = try Self.expected(definition, rows)
    #expect(try model.context().floats(rows, columns: 3).map { Double($0) } == expected["probabilities"])
  }

  @Test func classesAndLabelsComeBesideNumbers() throws {
    let definition = ModelFixtures.mlp(widths: Self.widths)
    let rows = Self.rows(300)
    let expected = try #require(Self.expected(definition, rows)["class"])
    let model = try OpenedModel(.init(definition: definition))
    let context = try model.context()
    let tensors = CTensors()
    tensors.add("features", NTL_FLOAT32, shape: [300, 8], rows.flatMap(\.self))
    var classes = [Int64](repeating: -7, count: 300)
    var labels = [ntl_text](repeating: ntl_text(), count: 300)
    try classes.withUnsafeMutableBytes { classes in
      try labels.withUnsafeMutableBytes { labels in
        try context.predict(
          tensors,
          [
            ntl_output(index: 2, values: labels.baseAddress, capacity: 300),
            ntl_output(index: 1, values: classes.baseAddress, capacity: 300),
          ])
      }
    }
    #expect(classes.map { Double($0) } == expected)
    #expect(labels.map { String($0) } == expected.map { "c\(Int($0))" })
  }

  @Test func columnsWithCategoriesAsText() throws {
    let definition = BundleFixtures.classifier()
    let cells: [[Cell]] = [
      [.number(12.5), .number(2), .text("white")], [.missing, .number(3), .text("rosé")],
      [.number(14), .number(2.5), .missing], [.number(13), .number(2), .text("blue")],
    ]
    let answers = try CompiledModel(definition).answers(for: cells)
    let expected = answers.compactMap { if case .numbers(let values) = $0.answer { values } else { nil } }[0]
    let context = try OpenedModel(.init(definition: definition)).context()
    let tensors = CTensors()
    tensors.add("colour", shape: [4], texts: ["white", "rosé", "", "blue"])
    tensors.add("ash", NTL_FLOAT64, shape: [4, 1], [2.0, 3, 2.5, 2])
    tensors.add("alcohol", NTL_FLOAT32, shape: [4], [Float(12.5), .nan, 14, 13])
    var found = [Float](repeating: 0, count: 12)
    try found.withUnsafeMutableBytes {
      try context.predict(tensors, [ntl_output(index: 0, values: $0.baseAddress, capacity: 12)])
    }
    #expect(found.map { Double($0) } == expected)
  }

  @Test func everyTypeOfNumbersIsTaken() throws {
    let context = try OpenedModel(.init(definition: ModelFixtures.linearRegression())).context()
    func answer<Number: BitwiseCopyable>(_ type: ntl_type, _ row: [Number]) throws -> Float {
      let tensors = CTensors()
      tensors.add("features", type, shape: [1, 3], row)
      var value: Float = 0
      try withUnsafeMutableBytes(of: &value) {
        try context.predict(tensors, [ntl_output(index: 0, values: $0.baseAddress, capacity: 1)])
      }
      return value
    }
    // 2 · 1 − 3 · 0 + 0.5 · 1 + 1
    #expect(try answer(NTL_FLOAT32, [Float(1), 0, 1]) == 3.5)
    #expect(try answer(NTL_FLOAT64, [1.0, 0, 1]) == 3.5)
    #expect(try answer(NTL_INT8, [Int8(1), 0, 1]) == 3.5)
    #expect(try answer(NTL_INT16, [Int16(1), 0, 1]) == 3.5)
    #expect(try answer(NTL_INT32, [Int32(1), 0, 1]) == 3.5)
    #expect(try answer(NTL_INT64, [Int64(1), 0, 1]) == 3.5)
    #expect(try answer(NTL_UINT8, [UInt8(1), 0, 1]) == 3.5)
    #expect(try answer(NTL_BOOL, [UInt8(1), 0, 1]) == 3.5)
  }

  @Test(.enabled(if: Allocations.areCounted)) func aCallDoesNotAllocate() throws {
    let numbers = try OpenedModel(.init(definition: ModelFixtures.mlp(widths: Self.widths, precision: .int8))).context()
    let mixed = try OpenedModel(.init(definition: BundleFixtures.classifier())).context()
    let columns = CTensors()
    columns.add("alcohol", NTL_FLOAT32, shape: [2], [Float(12.5), 13])
    columns.add("ash", NTL_FLOAT32, shape: [2], [Float(2), 3])
    columns.add("colour", shape: [2], texts: ["white", "blue"])
    let (list, rows) = (columns.list, Self.rows(300).flatMap(\.self))
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 2 * 300 * 16, alignment: 16)
    defer { memory.deallocate() }
    let outputs = [
      ntl_output(index: 0, values: memory, capacity: 900),
      ntl_output(index: 2, values: memory + 300 * 16, capacity: 300),
    ]
    list.withUnsafeBufferPointer { list in
      rows.withUnsafeBytes { rows in
        outputs.withUnsafeBufferPointer { outputs in
          let (first, second) = (numbers.handle, mixed.handle)
          let (row, column, output) = (rows.baseAddress, list.baseAddress, outputs.baseAddress)
          var failed = Self.failures(rounds: 1, first, second, row, column, output)
          let made = Allocations.during {
            failed += Self.failures(rounds: 20, first, second, row, column, output)
          }
          #expect(made == 0 && failed == 0)
        }
      }
    }
  }

  /// How many calls fail of three a round, with one row, with more than a run takes, and with text. It allocates nothing
  /// itself, in a debug build either.
  private static func failures(
    rounds: Int, _ numbers: OpaquePointer, _ mixed: OpaquePointer, _ rows: UnsafeRawPointer?,
    _ columns: UnsafePointer<ntl_tensor>?, _ outputs: UnsafePointer<ntl_output>?
  ) -> Int {
    var failed = 0
    for _ in 0..<rounds {
      if ntl_predict_rows(numbers, NTL_FLOAT32, rows, 1, 8, outputs, 2, nil).rawValue != 0 { failed += 1 }
      if ntl_predict_rows(numbers, NTL_FLOAT32, rows, 300, 8, outputs, 2, nil).rawValue != 0 { failed += 1 }
      if ntl_predict(mixed, columns, 3, outputs, 2, nil).rawValue != 0 { failed += 1 }
    }
    return failed
  }

  @Test func threadsShareAModelEachWithItsContext() async throws {
    let definition = ModelFixtures.mlp(widths: Self.widths, precision: .int8)
    let model = try OpenedModel(.init(definition: definition))
    let rows = Self.rows(50)
    let expected = try #require(Self.expected(definition, rows)["probabilities"])
    let handle = SendableHandle(model.handle)
    let agree = try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 {
        group.addTask {
          var context: OpaquePointer?
          guard ntl_context_new(handle.pointer, &context, nil) == NTL_OK else { return false }
          defer { ntl_context_free(context) }
          let flat = rows.flatMap(\.self)
          var values = [Float](repeating: 0, count: 150)
          for _ in 0..<50 {
            let code = values.withUnsafeMutableBytes { values in
              var output = ntl_output(index: 0, values: values.baseAddress, capacity: 150)
              return ntl_predict_rows(context, NTL_FLOAT32, flat, 50, 8, &output, 1, nil)
            }
            if code != NTL_OK || values.map({ Double($0) }) != expected { return false }
          }
          return true
        }
      }
      return try await group.reduce(true) { $0 && $1 }
    }
    #expect(agree)
    withExtendedLifetime(model) {}
  }

  @Test func aContextOutlivesTheHandleOfItsModel() throws {
    let definition = ModelFixtures.mlp(widths: Self.widths)
    var model: OpenedModel? = try OpenedModel(.init(definition: definition))
    let context = try #require(model).context()
    model = nil
    let rows = Self.rows(2)
    let expected = try Self.expected(definition, rows)["probabilities"]
    #expect(try context.floats(rows, columns: 3).map { Double($0) } == expected)
  }
}

/// A handle that tasks share, as C programs share it among threads.
struct SendableHandle: @unchecked Sendable {
  let pointer: OpaquePointer

  init(_ pointer: OpaquePointer) { self.pointer = pointer }
}
