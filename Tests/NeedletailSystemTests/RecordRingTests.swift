import Glibc
import NeedletailCore
import NeedletailSystem
import NeedletailTestSupport
import Testing

/// Records go from one thread to another in their order, and none is half there.
@Suite("Rings of records", .timeLimit(.minutes(10)))
struct RecordRingTests {
  @Test func recordsOfAllLengthsComeOutAsTheyWentIn() {
    let ring = RecordRing(bytes: 256)
    var random = SplitMix64(seed: 2)
    var sent: [[UInt8]] = []
    var taken: [[UInt8]] = []
    for step in 0..<2000 {
      let count = Int(random.next() % 90)
      if let place = ring.reserve(count) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &+ step) }
        bytes.withUnsafeBytes { if count > 0 { place.copyMemory(from: $0.baseAddress!, byteCount: count) } }
        _ = ring.publish()
        sent.append(bytes)
      }
      if random.next() % 3 == 0 { _ = ring.drain { taken.append(Array($0)) } }
    }
    _ = ring.drain { taken.append(Array($0)) }
    #expect(taken == sent)
    #expect(sent.count > 1000)
  }

  @Test func aFullRingTakesNoMore() {
    let ring = RecordRing(bytes: 64)
    #expect(ring.reserve(57) == nil, "eight bytes are the length")
    #expect(ring.reserve(24) != nil)
    #expect(ring.publish(), "half full")
    #expect(ring.reserve(24) != nil)
    #expect(!ring.publish())
    #expect(ring.reserve(0) == nil)
    #expect(ring.drain { _ in } == 2)
    #expect(ring.reserve(56) != nil)
  }

  @Test func theReaderIsWokenOnce() {
    let ring = RecordRing(bytes: 256)
    #expect(ring.awaitNext())
    _ = ring.reserve(8)
    #expect(ring.publish(), "it waits")
    _ = ring.reserve(8)
    #expect(!ring.publish(), "it is awake")
    #expect(!ring.awaitNext(), "there is something")
    #expect(ring.drain { _ in } == 2)
    #expect(ring.awaitNext())
  }

  @Test func twoThreadsAgree() async {
    let ring = RecordRing(bytes: 4096)
    let count: UInt64 = 200_000
    let producer = Task.detached {
      for number in 0..<count {
        while true {
          if let place = ring.reserve(8 + Int(number % 40)) {
            place.storeBytes(of: number, as: UInt64.self)
            _ = ring.publish()
            break
          }
          sched_yield()
        }
      }
    }
    let consumer = Task.detached { () -> UInt64 in
      var next: UInt64 = 0
      while next < count {
        let found = ring.drain { record in
          let number = record.loadUnaligned(as: UInt64.self)
          if number != next || record.count != 8 + Int(number % 40) { next = .max - 1 }
          next += 1
        }
        if found == 0 { sched_yield() }
      }
      return next
    }
    await producer.value
    #expect(await consumer.value == count)
  }
}
