import CNeedletailSystem
import Glibc
import Testing

/// Each test runs on a thread of its own, whose cache begins empty.
@Suite("Blocks that a thread keeps") struct BlockCacheTests {
  private static let isKeeping: Bool = {
    // With sanitizers nothing is kept.
    var kept = 0
    onOwnThread {
      free(allocate(100))
      kept = nt_block_cache_kept_bytes()
    }
    return kept > 0
  }()

  private static func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { nt_block_cache_malloc(bytes, nil, 0) }

  private static func free(_ block: UnsafeMutableRawPointer?) { nt_block_cache_free(block, nil, 0) }

  private static func onOwnThread(_ body: () -> Void) {
    withoutActuallyEscaping(body) { body in
      nonisolated(unsafe) let body = body
      var thread = pthread_t()
      let box = Unmanaged.passRetained(Box(body)).toOpaque()
      let made = pthread_create(
        &thread, nil,
        { context in
          guard let context else { return nil }
          Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body()
          return nil
        }, box)
      precondition(made == 0)
      pthread_join(thread, nil)
    }
  }

  private final class Box {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }

  @Test(.enabled(if: isKeeping)) func aFreedBlockIsHandedOutAgain() {
    Self.onOwnThread {
      for bytes in [1, 32, 33, 100, 5000, 16_900, 32_768] {
        let block = Self.allocate(bytes)
        #expect(block != nil && Int(bitPattern: block) % 16 == 0)
        block?.initializeMemory(as: UInt8.self, repeating: 0xa5, count: bytes)
        Self.free(block)
        #expect(Self.allocate(bytes) == block, "\(bytes)")
        Self.free(block)
      }
    }
  }

  @Test func aThreadKeepsABoundedAmount() {
    Self.onOwnThread {
      let blocks = (0..<200).map { _ in Self.allocate(16_000) }
      for block in blocks { Self.free(block) }
      #expect(nt_block_cache_kept_bytes() <= Int(524_288))
      let large = Self.allocate(1 << 20)
      let kept = nt_block_cache_kept_bytes()
      Self.free(large)
      #expect(nt_block_cache_kept_bytes() == kept, "large blocks are the C library's")
    }
  }

  @Test func aBlockThatGrowsKeepsItsBytes() {
    Self.onOwnThread {
      var block = nt_block_cache_realloc(nil, 10, nil, 0)
      for index in 0..<10 { block?.storeBytes(of: UInt8(index), toByteOffset: index, as: UInt8.self) }
      for bytes in [20, 40, 3000, 100_000, 50] {
        block = nt_block_cache_realloc(block, bytes, nil, 0)
        #expect((0..<10).allSatisfy { block?.load(fromByteOffset: $0, as: UInt8.self) == UInt8($0) }, "\(bytes)")
      }
      #expect(nt_block_cache_realloc(block, 0, nil, 0) == nil)
    }
  }

  @Test func aBlockMayBeFreedByAnotherThread() {
    nonisolated(unsafe) var block: UnsafeMutableRawPointer?
    Self.onOwnThread { block = Self.allocate(500) }
    Self.onOwnThread {
      Self.free(block)
      let again = Self.allocate(500)
      again?.initializeMemory(as: UInt8.self, repeating: 1, count: 500)
      Self.free(again)
    }
  }

  @Test func nothingIsNoBlock() {
    #expect(Self.allocate(0) == nil && Self.allocate(.max) == nil)
    Self.free(nil)
  }
}
