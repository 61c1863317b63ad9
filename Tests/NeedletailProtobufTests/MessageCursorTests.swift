import NeedletailCore
import NeedletailProtobuf
import Testing

@Suite("Message cursor")
struct MessageCursorTests {
  /// Number and content of every field; nil where the bytes are malformed.
  private static func fields(_ bytes: [UInt8]) -> [String]? {
    bytes.withUnsafeBytes { buffer in
      var found: [String] = []
      var cursor = MessageCursor(buffer, of: "Test")
      do {
        while let field = try cursor.next() {
          switch field.value {
          case .varint(let value): found.append("\(field.number)=\(value)")
          case .fixed64(let value): found.append("\(field.number)=64:\(value)")
          case .fixed32(let value): found.append("\(field.number)=32:\(value)")
          case .bytes(let bytes): found.append("\(field.number)=\(Array(bytes))")
          }
        }
      } catch {
        return nil
      }
      return found
    }
  }

  // The bytes are those of the guide to the encoding at protobuf.dev.
  @Test func readsEveryWireTypeInTheOrderOfTheBytes() {
    #expect(Self.fields([0x08, 0x96, 0x01]) == ["1=150"])
    #expect(
      Self.fields([0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]) == ["2=[116, 101, 115, 116, 105, 110, 103]"])
    #expect(Self.fields([0x19, 1, 0, 0, 0, 0, 0, 0, 1]) == ["3=64:72057594037927937"])
    #expect(Self.fields([0x25, 1, 0, 0, 2]) == ["4=32:33554433"])
    #expect(Self.fields([0x10, 1, 0x08, 2, 0x10, 3]) == ["2=1", "1=2", "2=3"])
    #expect(Self.fields([]) == [])
  }

  @Test func aNumberHasUpToTenBytesAndBitsBeyond64AreDropped() {
    let ones = [UInt8](repeating: 0xff, count: 9)
    #expect(Self.fields([0x08] + ones + [0x01]) == ["1=\(UInt64.max)"])
    #expect(Self.fields([0x08] + ones + [0x7f]) == ["1=\(UInt64.max)"])
    #expect(Self.fields([0x08] + ones + [0xff, 0x01]) == nil)
  }

  @Test(
    arguments: [
      ("a key that is cut off", [0x80]), ("field number 0", [0x00, 0x01]), ("a group", [0x0b]),
      ("a wire type that does not exist", [0x0e]), ("a length beyond the end", [0x0a, 0x02, 0x00]),
      ("a length of 2^64 - 1", [0x0a] + [UInt8](repeating: 0xff, count: 9) + [0x01]),
      ("a number that is cut off", [0x08, 0x80]), ("four of eight bytes", [0x09, 1, 2, 3, 4]),
      ("three of four bytes", [0x0d, 1, 2, 3]),
    ] as [(String, [UInt8])])
  func refusesMalformedBytes(fault: String, bytes: [UInt8]) {
    #expect(Self.fields(bytes) == nil)
  }

  @Test func anErrorNamesTheMessageAndTheByte() {
    let bytes: [UInt8] = [0x08, 0x01, 0x12, 0x7f]
    bytes.withUnsafeBytes { buffer in
      var cursor = MessageCursor(buffer, of: "Test")
      let error = #expect(throws: ServingError.self) { while try cursor.next() != nil {} }
      #expect(error?.message == "Test: byte 2 of 4: length beyond the end of its message")
    }
  }

  @Test func readsPackedNumbersToTheEnd() throws {
    let bytes: [UInt8] = [0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]
    try bytes.withUnsafeBytes { buffer in
      var cursor = MessageCursor(buffer, of: "Test")
      var found: [UInt64] = []
      while let number = try cursor.nextPacked() { found.append(number) }
      #expect(found == [3, 270, 86942])
    }
  }
}

@Suite("Message arena")
struct MessageArenaTests {
  @Test func handsOutAlignedMemoryWithinItsBudget() throws {
    let arena = MessageArena()
    #expect(arena.allocate(bytes: 1) == nil)
    arena.reset(budgetBytes: 100)
    for count in [1, 8, 9] {
      let memory = try #require(arena.allocate(bytes: count))
      #expect(UInt(bitPattern: memory) % 8 == 0)
      memory.initializeMemory(as: UInt8.self, repeating: 0xaa, count: count)
    }
    #expect(arena.bytesSpent == 32)
    #expect(arena.allocate(bytes: 69) == nil)
    #expect(arena.allocate(bytes: 64) != nil)
    #expect(arena.allocate(bytes: 8) == nil)
    #expect(arena.bytesSpent == 96)
  }

  @Test func countsThatOverflowAreRefused() {
    let arena = MessageArena()
    arena.reset(budgetBytes: .max)
    for count in [-1, Int.min, Int.max, Int.max - 6] { #expect(arena.allocate(bytes: count) == nil) }
    #expect(arena.allocate(UInt64.self, count: Int.max / 4) == nil)
    #expect(arena.bytesSpent == 0)
  }

  @Test func blocksDoNotOverlapAndLostTailsCount() throws {
    let arena = MessageArena()
    arena.reset(budgetBytes: 100_000)
    var pieces: [UnsafeMutableBufferPointer<UInt8>] = []
    for index in 0..<40 {
      let piece = try #require(arena.allocate(UInt8.self, count: 1000 + index))
      piece.initialize(repeating: UInt8(index))
      pieces.append(piece)
    }
    for (index, piece) in pieces.enumerated() { #expect(piece.allSatisfy { $0 == UInt8(index) }) }
    #expect(arena.bytesSpent <= 100_000)
    #expect(arena.bytesHeld <= 100_000)
    let blocks = arena.blockAllocations
    arena.reset(budgetBytes: 100_000)
    for index in 0..<40 { _ = arena.allocate(UInt8.self, count: 1000 + index) }
    #expect(arena.blockAllocations == blocks)
  }
}
