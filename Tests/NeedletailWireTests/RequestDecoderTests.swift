import NIOCore
import NeedletailCore
import NeedletailProtobuf
import NeedletailWire
import Testing

@Suite("Request decoder")
struct RequestDecoderTests {
  private static func encode(_ inputs: [InputTensor], outputs: [String] = [], routingKey: String = "") throws -> [UInt8]
  {
    var buffer = ByteBuffer()
    let predict = RequestEncoder.Predict(model: "m", inputs: inputs, outputs: outputs, routingKey: routingKey)
    try RequestEncoder.append(
      id: 9, timeoutMicroseconds: 0, .predict(predict), frameBytesMax: 64 << 20, to: &buffer)
    return Array(buffer.readableBytesView.dropFirst(4))
  }

  /// `body` gets the predict call; the budget is checked after.
  private static func decode<Result>(
    _ payload: [UInt8], arena: MessageArena = MessageArena(), _ body: (PredictView) throws -> Result
  ) throws -> Result {
    try payload.withUnsafeBytes { bytes in
      defer { #expect(arena.bytesSpent <= 4 * payload.count + (64 << 10)) }
      guard case .predict(let view) = try RequestDecoder.decode(bytes, arena: arena).call else {
        throw ServingError.internal("no predict call")
      }
      return try body(view)
    }
  }

  private static func nested(_ number: UInt8, _ payload: [UInt8]) -> [UInt8] {
    var length = payload.count
    var varint: [UInt8] = []
    while length >= 128 {
      varint.append(UInt8(length & 127) | 128)
      length >>= 7
    }
    return [number << 3 | 2] + varint + [UInt8(length)] + payload
  }

  @Test("points into the frame instead of copying it")
  func pointsIntoTheFrame() throws {
    let payload = try Self.encode([.features([1, 2, 3, 4], columns: 2)])
    let arena = MessageArena()
    try payload.withUnsafeBytes { bytes in
      guard case .predict(let view) = try RequestDecoder.decode(bytes, arena: arena).call else {
        throw ServingError.internal("no predict call")
      }
      let data = try #require(view.tensors[0].data.baseAddress)
      #expect(data >= bytes.baseAddress! && data < bytes.baseAddress! + bytes.count)
      #expect(Array(view.tensors[0].shape) == [2, 2])
      #expect(arena.bytesSpent < 200)
    }
  }

  @Test("a NUL inside a name does not cut it")
  func keepsNULs() throws {
    let vector = GoldenVectors.named("predict-nul-in-names")
    try Self.decode(vector.payload) { view in
      #expect(String(decoding: view.model, as: UTF8.self) == "wine\0x")
      #expect(String(decoding: view.tensors[0].name, as: UTF8.self) == "alcohol\0")
      #expect(String(decoding: view.outputs[0], as: UTF8.self) == "label\0")
    }
  }

  @Test("an unknown data type is no type, and no error of the decoder")
  func unknownType() throws {
    try Self.decode(GoldenVectors.named("unknown-data-type").payload) { #expect($0.tensors[0].type == nil) }
  }

  @Test("wide tables by column and long string columns fit the budget")
  func honestTablesFit() throws {
    let wide = (0..<2000).map { InputTensor.column("feature_\($0)", [Double($0)]) }
    try Self.decode(Self.encode(wide)) { #expect($0.tensors.count == 2000) }
    let long = InputTensor.column("colour", (0..<10_000).map { $0 % 3 == 0 ? "red" : "blue" })
    try Self.decode(Self.encode([long])) { #expect($0.tensors[0].strings.count == 10_000) }
  }

  @Test("text of any length fits the budget", arguments: ["", "7", "Y", "M", "12", "blue"])
  func shortTextFits(_ text: String) throws {
    let rows = [String](repeating: text, count: 4096 * 64)
    let dense = InputTensor(name: "features", type: .string, shape: [4096, 64], data: [], strings: rows)
    try Self.decode(Self.encode([dense])) { view in
      #expect(view.tensors[0].strings.count == 4096 * 64)
      let same = view.tensors[0].strings.count { String(decoding: $0, as: UTF8.self) == text }
      #expect(same == 4096 * 64)
    }
    let columns = (0..<64).map { InputTensor.column("c\($0)", [String](repeating: text, count: 4096)) }
    try Self.decode(Self.encode(columns)) { view in
      #expect(view.tensors.count == 64)
      for tensor in view.tensors {
        let same = tensor.strings.count { String(decoding: $0, as: UTF8.self) == text }
        #expect(same == 4096)
      }
    }
  }

  @Test("texts that the shape does not ask for are refused before they take memory", arguments: [2, 4, 1 << 20])
  func textsBesideTheShape(count: Int) throws {
    let texts = InputTensor(
      name: "a", type: .string, shape: [3], data: [], strings: [String](repeating: "", count: count))
    let payload = try Self.encode([texts])
    let arena = MessageArena()
    let error = #expect(throws: ServingError.self) { try Self.decode(payload, arena: arena) { _ = $0.tensors } }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message == "input \"a\": expected 3 strings for its shape, found \(count)")
    #expect(arena.bytesSpent < 200)
  }

  @Test("a text costs 8 bytes, a dimension 8, a tensor 80: as proto/README.md says")
  func costs() throws {
    func spent(_ inputs: [InputTensor]) throws -> Int {
      let arena = MessageArena()
      try Self.decode(Self.encode(inputs), arena: arena) { _ in }
      return arena.bytesSpent
    }
    #expect(try spent([.column("a", ["x"])]) == 80 + 8 + 8)
    #expect(try spent([.column("a", ["x", "y", ""])]) == 80 + 8 + 24)
    #expect(try spent([.features([1, 2], columns: 2)]) == 80 + 16)
  }

  @Test("refuses counts beyond their limits, naming limit and count")
  func limits() throws {
    let tensor = InputTensor(name: "x", type: .float32, shape: [1], data: [0, 0, 0, 0])
    func message(_ payload: [UInt8]) -> String? {
      let error = #expect(throws: ServingError.self) { try Self.decode(payload) { _ in } }
      #expect(error?.code == .invalidArgument)
      return error?.message
    }
    let many = [InputTensor](repeating: tensor, count: Limits.inputTensorsMax + 1)
    #expect(message(try Self.encode(many)) == "inputs: expected at most 16384 tensors, found 16385")
    let outputs = [String](repeating: "a", count: 65)
    #expect(message(try Self.encode([], outputs: outputs)) == "outputs: expected at most 64 names, found 65")
    let key = String(repeating: "k", count: 257)
    #expect(message(try Self.encode([], routingKey: key)) == "routing_key: expected at most 256 bytes, found 257")
    let deep = InputTensor(name: "x", type: .float32, shape: [UInt64](repeating: 1, count: 9), data: [])
    #expect(message(try Self.encode([deep])) == "shape: expected at most 8 dimensions, found 9")
  }

  enum Amplifier: String, CaseIterable {
    case emptyTensors, emptyStrings, unknownFields, unknownInTensor, emptyCalls

    /// About `count` elements of two bytes.
    func payload(count: Int) -> [UInt8] {
      func nested(_ number: UInt8, _ payload: [UInt8]) -> [UInt8] { RequestDecoderTests.nested(number, payload) }
      switch self {
      case .emptyTensors: return nested(3, [UInt8](repeatingPair: (0x22, 0), count: count))
      case .emptyStrings:
        // As many as the shape says, a number of two bytes.
        let shape = nested(3, [UInt8(count & 127) | 128, UInt8(count >> 7)])
        return nested(3, nested(4, shape + [UInt8](repeatingPair: (0x2a, 0), count: count)))
      case .unknownFields: return [UInt8](repeatingPair: (0x78, 1), count: count) + nested(3, [])
      case .unknownInTensor: return nested(3, nested(4, [UInt8](repeatingPair: (0x7a, 0), count: count)))
      case .emptyCalls: return [UInt8](repeatingPair: (0x1a, 0), count: count)
      }
    }
  }

  @Test("input made to amplify stays within 4 × frame + 64 KiB", arguments: Amplifier.allCases)
  func amplification(_ amplifier: Amplifier) throws {
    let arena = MessageArena()
    let payload = amplifier.payload(count: 10_000)
    let budget = 4 * payload.count + (64 << 10)
    switch amplifier {
    case .emptyTensors:
      let error = #expect(throws: ServingError.self) { try Self.decode(payload, arena: arena) { _ in } }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.contains("\(budget) bytes") == true)
    case .emptyStrings:
      try Self.decode(payload, arena: arena) { view in
        let empty = view.tensors[0].strings.count { $0.isEmpty }
        #expect(empty == 10_000)
      }
      #expect(arena.bytesSpent <= budget)
    case .unknownFields, .unknownInTensor, .emptyCalls:
      // They cost nothing, so they are ignored as any unknown field is.
      try Self.decode(payload, arena: arena) { _ in }
      #expect(arena.bytesSpent <= 80)
    }
    #expect(arena.bytesHeld <= budget)
  }

  @Test("a steady stream of requests takes no memory from the system after the first")
  func arenaIsReused() throws {
    let arena = MessageArena()
    let payload = try Self.encode((0..<40).map { .column("feature_\($0)", [Double($0), 2]) })
    try Self.decode(payload, arena: arena) { _ in }
    let first = arena.blockAllocations
    #expect(first > 0)
    for _ in 0..<1000 { try Self.decode(payload, arena: arena) { _ in } }
    #expect(arena.blockAllocations == first)
  }

  @Test("the arena gives memory back when requests became small")
  func arenaTrims() throws {
    let arena = MessageArena()
    let large = try Self.encode([.column("colour", [String](repeating: "red", count: 100_000))])
    let small = try Self.encode([.features([1, 2], columns: 2)])
    try Self.decode(large, arena: arena) { _ in }
    #expect(arena.bytesHeld > 1 << 20)
    for _ in 0..<100 { try Self.decode(small, arena: arena) { _ in } }
    #expect(arena.bytesHeld <= 256 << 10)
  }

  @Test("the head of a call has its rows from the first tensor's shape")
  func headHasRows() throws {
    let arena = MessageArena()
    func rows(_ payload: [UInt8]) -> UInt64? {
      payload.withUnsafeBytes { bytes in
        guard case .predict(let head)? = try? RequestDecoder.decodeHead(bytes, arena: arena).view.call else {
          return nil
        }
        #expect(head.tensors.isEmpty && head.outputs.isEmpty)
        return head.rows
      }
    }
    #expect(try rows(Self.encode([.features([1, 2, 3, 4, 5, 6], columns: 2)])) == 3)
    #expect(try rows(Self.encode([.column("a", ["x", "y"]), .column("b", [1.5, 2])])) == 2)
    #expect(try rows(Self.encode([])) == 1)
    func call(_ tensor: [UInt8]) -> [UInt8] { [0x08, 9] + Self.nested(3, Self.nested(4, tensor)) }
    #expect(rows(call([0x18, 7, 0x18, 2])) == 7, "not packed")
    #expect(rows(call(Self.nested(3, [5, 2]))) == 5)
    #expect(rows(call([])) == 1, "no shape")
    #expect(rows(call(Self.nested(3, [0xff]))) == nil, "a number that does not end")
  }

  @Test("every truncation of every vector is read or refused, never a trap")
  func truncations() {
    let arena = MessageArena()
    for vector in GoldenVectors.of(kind: "request") {
      for end in 0..<vector.payload.count {
        vector.payload[..<end].withUnsafeBytes { bytes in
          _ = try? RequestDecoder.decode(bytes, arena: arena)
          _ = RequestDecoder.peekID(bytes)
          _ = try? RequestDecoder.decodeHead(bytes, arena: arena)
        }
      }
    }
  }

  @Test("mutated vectors are read as protobuf-c reads them, or refused", arguments: 0..<20)
  func mutations(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let vectors = GoldenVectors.of(kind: "request").map(\.payload)
    let arena = MessageArena()
    let oracle = ProtobufCOracle()
    var compared = 0
    for _ in 0..<2000 {
      var payload = vectors.randomElement(using: &random) ?? []
      for _ in 0..<Int.random(in: 1...4, using: &random) where !payload.isEmpty {
        let position = Int.random(in: 0..<payload.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: payload[position] = UInt8.random(in: 0...255, using: &random)
        case 1: payload[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: payload.remove(at: position)
        default: payload.insert(UInt8.random(in: 0...255, using: &random), at: position)
        }
      }
      payload.withUnsafeBytes { bytes in
        guard let view = try? RequestDecoder.decode(bytes, arena: arena) else { return }
        if let difference = oracle.difference(of: view, from: bytes) {
          Issue.record("\(difference) in \(payload)")
        }
        compared += 1
      }
    }
    #expect(compared > 100)
  }
}

extension [UInt8] {
  fileprivate init(repeatingPair pair: (UInt8, UInt8), count: Int) {
    self = (0..<(2 * count)).map { $0 % 2 == 0 ? pair.0 : pair.1 }
  }
}
