import CNeedletailKernels
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// A model of `ModelFixtures.textLengths`, and what is bound for it.
private struct TextModel: ~Copyable {
  let model: CompiledModel
  let workspace: Workspace

  init(textBytesMax: Int = 100, rowsMax: Int = 8) throws {
    var options = PlanOptions()
    options.rowsMax = rowsMax
    options.textBytesMax = textBytesMax
    model = try CompiledModel(ModelFixtures.textLengths(), options: options)
    workspace = model.plan.workspace()
  }
}

extension RowMemory {
  /// The texts of some rows; nil where one is missing.
  fileprivate func texts(_ count: Int) -> [String?] {
    (0..<count).map { index in
      let item = texts.assumingMemoryBound(to: nt_text_item.self)[index]
      guard item.flags & UInt32(NT_TEXT_ITEM_MISSING) == 0 else { return nil }
      return String(decoding: UnsafeBufferPointer(start: item.bytes, count: Int(item.length)), as: UTF8.self)
    }
  }
}

private func columns(_ titles: [String], _ bodies: [String]) -> TensorFixture {
  TensorFixture()
    .add("body", [UInt64(bodies.count)], strings: bodies)
    .add("title", [UInt64(titles.count)], strings: titles)
    .add("weight", .float32, [UInt64(titles.count)], titles.map { _ in Float(0) })
}

@Suite("Binding of text")
struct TextBindingTests {
  private func refusal(of request: TensorFixture, textBytesMax: Int = 100) throws -> String? {
    let text = try TextModel(textBytesMax: textBytesMax)
    let error = #expect(throws: ServingError.self) {
      let extent = try text.model.binder.extent(of: request.tensors, max: BatchExtent(rows: 100))
      var used = 0
      try text.model.binder.bind(
        request.tensors, rows: 0..<extent.rows, into: text.workspace.rows, textBytesUsed: &used)
      #expect(used == 0)
    }
    withExtendedLifetime(request) {}
    #expect(error?.code == .invalidArgument)
    return error?.message
  }

  @Test func textsAreCopiedAsTheyAreAndTheirColumnsHoldTheirLengths() throws {
    let text = try TextModel()
    // Spaces, missing words, marks apart from their letters and NUL are all part of a text.
    let titles = ["", " NA ", "e\u{301}", "NA"]
    let bodies = ["red\u{0}blue", "", "\u{1F600}", "x"]
    let request = columns(titles, bodies)
    let binder = text.model.binder
    let size = try binder.size(of: request.tensors, max: BatchExtent(rows: 4))
    #expect(size.textBytes == (titles + bodies).reduce(0) { $0 + $1.utf8.count })
    #expect(size.extent == BatchExtent(rows: 4))
    var used = 0
    try binder.bind(request.tensors, rows: 0..<4, into: text.workspace.rows, textBytesUsed: &used)
    #expect(used == size.textBytes)
    #expect(text.workspace.rows.texts(8) == zip(titles, bodies).flatMap { [$0, $1] })
    let row = text.workspace.input.assumingMemoryBound(to: Float.self)
    #expect((0..<12).map { row[$0] } == [0, 0, 8, 4, 0, 0, 3, 0, 4, 2, 0, 1])
    withExtendedLifetime(request) {}
  }

  @Test func aTensorOfAllFeaturesBindsTextsToo() throws {
    let text = try TextModel()
    let strings = TensorFixture().add("features", [2, 3], strings: ["a title", "1.5", "", "b", "2", "a body"])
    var used = 0
    try text.model.binder.bind(strings.tensors, rows: 0..<2, into: text.workspace.rows, textBytesUsed: &used)
    #expect(text.workspace.rows.texts(4) == ["a title", "", "b", "a body"])
    #expect(try text.model.binder.size(of: strings.tensors, max: BatchExtent(rows: 2)).textBytes == 7 + 0 + 1 + 6)
    withExtendedLifetime(strings) {}
  }

  @Test func aMissingTextReadsAsEmptyWhereTheFeatureAllowsIt() throws {
    let text = try TextModel()
    let bound = try text.model.binder.bind(
      rows: 2, from: 0, for: text.model.plan, into: text.workspace.rows
    ) { [[.text("one"), .number(1), .missing], [.text("two"), .number(2), .text("")]][$0] }
    #expect(bound == 2)
    #expect(text.workspace.rows.texts(4) == ["one", nil, "two", ""])
    let answers = try text.model.answers(for: [
      [.text("one"), .number(1), .missing], [.text("two"), .number(1), .text("")],
    ])
    #expect(answers[0].answer == .numbers([Double(Float(1003 - 0.002)), 1003]))
    let error = #expect(throws: ServingError.self) {
      try text.model.answers(for: [[.missing, .number(1), .text("")]])
    }
    #expect(error?.message == "feature \"title\", row 0: expected a value, found none")
  }

  @Test func whatIsNoTextIsRefused() throws {
    let number = TensorFixture().add("features", .float32, [1, 3], [3, 1, .nan] as [Float])
    #expect(try refusal(of: number) == "feature \"title\", row 0: expected text, found 3.0")
    let column = TensorFixture().add("title", .float32, [1], [3] as [Float]).add(
      "weight", .float32, [1], [1] as [Float]
    )
    .add("body", [1], strings: [""])
    #expect(try refusal(of: column) == "input \"title\": expected type STRING for a text feature, found FLOAT32")
  }

  @Test(arguments: [
    [0xC3, 0x28], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xC0, 0x80], [0x61, 0xE2, 0x82], [0x80],
  ])
  func textsThatAreNotUTF8AreRefused(bytes: [UInt8]) throws {
    let request = TensorFixture().add("title", .string, [2], strings: [Array("good".utf8), bytes])
      .add("weight", .float32, [2], [1, 1] as [Float]).add("body", [2], strings: ["", ""])
    let message = try refusal(of: request)
    #expect(message?.hasPrefix("feature \"title\", row 1: expected UTF-8 text, found ") == true)
  }

  @Test func aTextIsAsLongAsTheLimitAllows() throws {
    let text = try TextModel(textBytesMax: 7)
    _ = try text.model.answers(for: [[.text("1234567"), .number(0), .text("")]])
    #expect(
      try refusal(of: columns(["short", "12345678"], ["", ""]), textBytesMax: 7)
        == "feature \"title\", row 1: expected at most 7 bytes of text, found 8")
  }

  @Test func aRunTakesAsManyRowsAsTheirTextsFit() throws {
    let text = try TextModel(textBytesMax: 200_000)
    #expect(text.model.plan.textBytesMax == 400_000)
    let long = String(repeating: "x", count: 150_000)
    let request = columns([long, long, "", long], ["", "a", "b", ""])
    let binder = text.model.binder
    #expect(binder.rowsOfRun(request.tensors, from: 0, of: 4, for: text.model.plan) == 3)
    #expect(binder.rowsOfRun(request.tensors, from: 3, of: 4, for: text.model.plan) == 1)
    // What no run takes is refused when it is bound.
    let beyond = columns([String(repeating: "x", count: 500_000)], [""])
    #expect(binder.rowsOfRun(beyond.tensors, from: 0, of: 1, for: text.model.plan) == 1)
    let answers = try text.model.answers(
      for: Array(repeating: [.text(long), .number(1), .text(long)], count: 5))
    #expect(answers[0].answer == .numbers(Array(repeating: Double(Float(151_150)), count: 5)))
    withExtendedLifetime((request, beyond)) {}
  }

  @Test func rowsKeptForLaterHaveTheirOwnBytes() throws {
    let text = try TextModel()
    let plan = text.model.plan
    let request = columns(["one", "two", "three"], ["", "zwei", "drei"])
    var used = 0
    try text.model.binder.bind(request.tensors, rows: 0..<3, into: text.workspace.rows, textBytesUsed: &used)
    let bytes = plan.boundBytes(rows: 3, textBytes: used)
    let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
    defer { block.deallocate() }
    let kept = plan.rowMemory(at: block, rows: 3)
    #expect(plan.keepRows(from: text.workspace.rows, count: 3, in: kept, room: used) == 3)
    // The source may change now.
    text.workspace.rows.bytes.initializeMemory(as: UInt8.self, repeating: 0x2E, count: used)
    text.workspace.fillTexts(rows: 8)
    #expect(kept.texts(6) == ["one", "", "two", "zwei", "three", "drei"])
    #expect(plan.keepRows(from: kept, count: 3, in: text.workspace.rows, room: used - 1) == 2)
    #expect(text.workspace.rows.texts(4) == ["one", "", "two", "zwei"])
    // Rows move with the places of their texts; the bytes stay.
    plan.copyRows(from: kept, at: 1, count: 2, to: kept, at: 0)
    #expect(kept.texts(4) == ["two", "zwei", "three", "drei"])
    #expect(block.load(fromByteOffset: 8, as: Float.self) == 4)
    withExtendedLifetime(request) {}
  }

  @Test(.enabled(if: Allocations.areCounted))
  func textsBindWithoutAllocating() throws {
    let text = try TextModel()
    let request = columns(["a text of more than fifteen bytes", "é"], ["", "b"])
    func bind() throws {
      var used = 0
      _ = try text.model.binder.size(of: request.tensors, max: BatchExtent(rows: 2))
      _ = text.model.binder.rowsOfRun(request.tensors, from: 0, of: 2, for: text.model.plan)
      try text.model.binder.bind(request.tensors, rows: 0..<2, into: text.workspace.rows, textBytesUsed: &used)
    }
    // The first round fills the runtime's caches of generic types, once per process.
    try bind()
    let count = Allocations.during { try? bind() }
    #expect(count == 0)
    withExtendedLifetime(request) {}
  }
}
