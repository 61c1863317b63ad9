import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

@Suite("Receive buffer")
struct ReceiveBufferTests {
  private static func borrow(_ bytes: [UInt8], _ buffer: inout ReceiveBuffer, consume: Int = 0) {
    bytes.withUnsafeBytes { bytes in
      buffer.append(borrowing: bytes)
      buffer.consume(consume)
      buffer.keepUnread()
    }
  }

  @Test func bytesOutliveTheMemoryThatTheyWereReadInto() {
    var buffer = ReceiveBuffer()
    Self.borrow([1, 2, 3, 4], &buffer, consume: 1)
    #expect(Array(buffer.unread) == [2, 3, 4])
    Self.borrow([5, 6], &buffer, consume: 3)
    #expect(Array(buffer.unread) == [5, 6])
    buffer.consume(2)
    #expect(buffer.unread.isEmpty)
  }

  @Test func bytesThatAreReadAtOnceAreNotCopied() {
    var buffer = ReceiveBuffer()
    [1, 2, 3].withUnsafeBytes { bytes in
      buffer.append(borrowing: bytes)
      #expect(buffer.unread.baseAddress == bytes.baseAddress)
      buffer.consume(bytes.count)
      buffer.keepUnread()
    }
    #expect(buffer.capacityBytes == 0)
  }

  /// Bytes cut anywhere and read in pieces of any length come out as they went in.
  @Test func anyCutsGiveTheSameBytes() {
    var generator = SystemRandomNumberGenerator()
    var buffer = ReceiveBuffer()
    var sent: [UInt8] = []
    var read: [UInt8] = []
    for _ in 0..<2000 {
      let bytes = (0..<Int.random(in: 0...300, using: &generator)).map { _ in
        UInt8.random(in: .min ... .max, using: &generator)
      }
      sent += bytes
      bytes.withUnsafeBytes { bytes in
        if Bool.random(using: &generator) {
          buffer.append(borrowing: bytes)
        } else {
          buffer.append(copying: bytes)
        }
        let count = Int.random(in: 0...buffer.unread.count, using: &generator)
        read += buffer.unread[..<count]
        buffer.consume(count)
        buffer.keepUnread()
      }
    }
    read += buffer.unread
    #expect(read == sent)
  }

  @Test func memoryGrowsWithWhatArrivesAndIsFreedWhenItIsRead() {
    var buffer = ReceiveBuffer()
    let chunk = [UInt8](repeating: 7, count: Limits.receiveBytes)
    for _ in 0..<64 { Self.borrow(chunk, &buffer) }
    #expect(buffer.unread.count == 64 * Limits.receiveBytes)
    #expect(buffer.capacityBytes <= 2 * buffer.unread.count)
    buffer.consume(buffer.unread.count)
    buffer.keepUnread()
    #expect(buffer.capacityBytes == 0)
  }

  @Test func aQuietConnectionGivesItsMemoryBack() {
    var buffer = ReceiveBuffer()
    Self.borrow([1, 2], &buffer)
    buffer.trim()
    #expect(Array(buffer.unread) == [1, 2], "unread bytes stay")
    buffer.consume(2)
    buffer.trim()
    #expect(buffer.capacityBytes == 0)
  }
}
