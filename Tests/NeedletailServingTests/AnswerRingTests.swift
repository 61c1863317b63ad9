import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailServing

/// The ring of answers, compared with a dictionary.
@Suite struct AnswerRingTests {
  private static let question = AnswerRing.Question(version: 1, rows: 1, selection: 1)

  private static func ring(bytes: Int = AnswerRing.bytesMin, seed: UInt64 = 7) -> AnswerRing {
    guard let ring = AnswerRing(bytes: bytes, seed: seed) else { preconditionFailure("no memory") }
    return ring
  }

  private static func bytes(_ numbers: [UInt32]) -> [UInt8] {
    numbers.flatMap { number in withUnsafeBytes(of: number.littleEndian) { Array($0) } }
  }

  /// Looks a key up, and keeps `floats` where it is not known.
  /// - Returns: what was found.
  @discardableResult
  private static func ask(
    _ ring: inout AnswerRing, _ key: [UInt8], _ floats: [Float], _ question: AnswerRing.Question = question
  ) -> [Float]? {
    key.withUnsafeBytes { key in
      let hash = ring.hash(question, key)
      if let found = ring.find(question, key, hash: hash) {
        return Array(UnsafeBufferPointer(start: found.floats, count: floats.count))
      }
      let ticket = ring.begin(question, key, floats: floats.count, hash: hash)
      ring.finish(ticket, nonFinite: 0) { memory in
        for (index, float) in floats.enumerated() { memory[index] = float }
      }
      return nil
    }
  }

  @Test func whatWasKeptIsFoundByTheSameQuestionOnly() {
    var ring = Self.ring()
    let key = Self.bytes([1, 2, 3])
    #expect(Self.ask(&ring, key, [4, 5]) == nil)
    #expect(Self.ask(&ring, key, [0, 0]) == [4, 5])
    for other in [
      AnswerRing.Question(version: 2, rows: 1, selection: 1), .init(version: 1, rows: 3, selection: 1),
      .init(version: 1, rows: 1, selection: 3),
    ] {
      #expect(Self.ask(&ring, key, [6, 7], other) == nil)
    }
    #expect(Self.ask(&ring, Self.bytes([1, 2]), [8, 9]) == nil && Self.ask(&ring, key, [0, 0]) == [4, 5])
    #expect(ring.count == 5)
  }

  @Test func keysOfOneHashDoNotGetEachOthersAnswers() {
    var ring = Self.ring()
    for number in 0..<10 as Range<UInt32> {
      Self.bytes([number]).withUnsafeBytes { key in
        let ticket = ring.begin(Self.question, key, floats: 1, hash: 99 << 32)
        ring.finish(ticket, nonFinite: Int(number)) { $0[0] = Float(number) }
      }
    }
    for number in 0..<10 as Range<UInt32> {
      Self.bytes([number]).withUnsafeBytes { key in
        let found = ring.find(Self.question, key, hash: 99 << 32)
        #expect(found?.floats[0] == Float(number) && found?.nonFinite == Int(number))
      }
    }
    Self.bytes([77]).withUnsafeBytes { #expect(ring.find(Self.question, $0, hash: 99 << 32) == nil) }
  }

  /// Lengths, order and repetitions by chance: what is found is always what was asked for, and what was asked for lately
  /// is found.
  @Test(arguments: [1, 2, 3] as [UInt64])
  func itAgreesWithADictionary(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var ring = Self.ring(bytes: 70_000, seed: seed)
    var known: [[UInt8]: [Float]] = [:]
    var (hits, wrong) = (0, 0)
    for round in 0..<40_000 {
      let number = UInt32(random.next() % 600)
      let length = 1 + Int(number % 37)
      let key = Self.bytes([number] + Array(repeating: number &* 77, count: length))
      let floats = (0..<(1 + Int(number % 11))).map { Float(number) + Float($0) / 16 }
      if let found = Self.ask(&ring, key, floats) {
        hits += 1
        if known[key] != found { wrong += 1 }
      }
      known[key] = floats
      if round % 5 == 0 { #expect(Self.ask(&ring, key, floats) == floats) }
    }
    #expect(wrong == 0 && hits > 10_000 && ring.evictions > 1000)
    #expect(ring.bytesUsed <= 70_000 && ring.count > 50)
  }

  @Test func whatIsAskedAgainStaysAndWhatIsNotMakesWay() {
    var ring = Self.ring()
    let popular = Self.bytes([1])
    Self.ask(&ring, popular, [1])
    for number in 2..<5000 as Range<UInt32> {
      Self.ask(&ring, Self.bytes([number]), [Float(number)])
      #expect(Self.ask(&ring, popular, [1]) == [1])
    }
    #expect(Self.ask(&ring, Self.bytes([2]), [2]) == nil && ring.evictions > 3000)
  }

  @Test func anEntryThatHadToMakeWayBeforeItsAnswerCameIsNotFinished() {
    var ring = Self.ring()
    let key = Self.bytes([1])
    let ticket = key.withUnsafeBytes {
      ring.begin(Self.question, $0, floats: 1, hash: ring.hash(Self.question, $0))
    }
    key.withUnsafeBytes { #expect(ring.find(Self.question, $0, hash: ring.hash(Self.question, $0)) == nil) }
    for number in 2..<5000 as Range<UInt32> { Self.ask(&ring, Self.bytes([number]), [Float(number)]) }
    ring.finish(ticket, nonFinite: 0) { _ in Issue.record("its memory is another one's") }
    #expect(Self.ask(&ring, key, [5]) == nil && Self.ask(&ring, key, [5]) == [5])
  }

  @Test func whatIsTooLargeIsNotKept() {
    var ring = Self.ring()
    let key = [UInt8](repeating: 1, count: ring.entryBytesMax)
    Self.ask(&ring, key, [1])
    #expect(Self.ask(&ring, key, [1]) == nil && ring.count == 0)
  }

  /// Reference values of an independent implementation are of no use, because the hash never leaves the process; that each
  /// bit counts is what matters.
  @Test func everyBitOfAKeyChangesItsHash() {
    for length in [1, 7, 8, 9, 15, 16, 17, 32, 100] {
      var key = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      let hash = key.withUnsafeBytes { KeyHash.of($0, seed: 1) }
      var seen: Set<UInt64> = [hash]
      for bit in 0..<(8 * length) {
        key[bit / 8] ^= 1 << UInt8(bit % 8)
        seen.insert(key.withUnsafeBytes { KeyHash.of($0, seed: 1) })
        key[bit / 8] ^= 1 << UInt8(bit % 8)
      }
      #expect(seen.count == 8 * length + 1, "\(length) bytes")
      #expect(key.withUnsafeBytes { KeyHash.of($0, seed: 2) } != hash)
    }
  }
}
