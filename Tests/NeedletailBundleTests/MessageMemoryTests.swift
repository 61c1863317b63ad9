import CNeedletailProto
import NeedletailBundle
import NeedletailProtobuf
import NeedletailTestSupport
import Testing

@Suite("Memory of bundle messages")
struct MessageMemoryTests {
  @Test func unpackingFailsCleanlyWhereverTheBudgetIsSpent() {
    // A directory with a model's name and three sections, each with a hash.
    let section: [UInt8] = [0x08, 1, 0x42, 4, 1, 2, 3, 4]
    let directory: [UInt8] =
      [0x0a, 4, 0x77, 0x69, 0x6e, 0x65] + [[UInt8]](repeating: [0x32, 8] + section, count: 3).joined()
    let arena = MessageArena()
    var unpacked = 0
    // Every allocation fails once, up to a budget that suffices.
    for budget in stride(from: 0, through: 4096, by: 8) {
      arena.reset(budgetBytes: budget)
      var allocator = arena.protobufAllocator
      if needletail__v1__directory__unpack(&allocator, directory.count, directory) != nil { unpacked += 1 }
      #expect(arena.bytesSpent <= budget)
    }
    #expect(unpacked > 0 && unpacked < 513)
  }
}
