import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Corrupt bundles are refused")
struct CorruptionTests {
  private let bytes: [UInt8]

  init() throws {
    bytes = try BundleFixtures.bundle(BundleContents(definition: BundleFixtures.line(weight: 3)))
  }

  @Test func everyFlippedBitOfTheHeaderIsRefused() {
    for bit in 0..<64 * 8 {
      var flipped = bytes
      flipped[bit / 8] ^= 1 << (bit % 8)
      #expect(refusal(flipped) != nil, "bit \(bit)")
    }
  }

  /// A link in the store may lead to a file that the reader of the message may not read.
  @Test func aFileThatIsNoBundleIsNotQuoted() throws {
    let message = try #require(refusal(Array("root:$6$secret:".utf8) + [UInt8](repeating: 65, count: 100))).message
    #expect(message.hasPrefix("magic: expected 894e54420d0a1a0a"), "\(message)")
    #expect(!message.contains("root") && !message.contains("726f6f74"), "\(message)")
  }

  @Test func everyFlippedBitOfAnUnsignedHeaderOrManifestIsRefused() throws {
    let unsigned = try BundleFixtures.bundle(
      BundleContents(definition: BundleFixtures.line(weight: 3)), keys: [])
    let directoryEnd = 64 + Int(unsigned[40]) + Int(unsigned[41]) << 8
    for bit in 0..<directoryEnd * 8 {
      var flipped = unsigned
      flipped[bit / 8] ^= 1 << (bit % 8)
      #expect(refusal(flipped, trust: .allowingUnsigned) != nil, "bit \(bit)")
    }
  }

  @Test func aChecksumMayBeMissingOnlyIfASignatureProtectsTheSameBytes() throws {
    let bare = try Self.withoutChecksum(BundleFixtures.bundle(keys: []))
    #expect(refusal(bare, trust: .allowingUnsigned)?.reason == .malformed)
    #expect(refusal(try BundleFixtures.strangersKey.sign(bare), trust: .allowingUnsigned)?.reason == .malformed)
    #expect(refusal(try BundleFixtures.key.sign(bare)) == nil)
  }

  private static func withoutChecksum(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    bytes.replaceSubrange(56..<64, with: [UInt8](repeating: 0, count: 8))
    return bytes
  }

  @Test func everyTruncationIsRefused() {
    for length in 0..<bytes.count {
      let error = refusal(Array(bytes[..<length]))
      #expect(error?.reason == .truncated, "length \(length): \(error?.message ?? "accepted")")
    }
  }

  @Test func randomFlipsAreRefusedWhereverTheyFall() {
    var random = SplitMix64(seed: 1)
    let rounds = ProcessInfo.processInfo.environment["NEEDLETAIL_FLIPS"].flatMap { Int($0) } ?? 4000
    defer { print("flips: \(rounds), all refused unless told above") }
    for round in 0..<rounds {
      var flipped = bytes
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        flipped[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      }
      guard flipped != bytes else { continue }
      #expect(refusal(flipped) != nil, "round \(round)")
    }
  }

  @Test func bytesAfterTheEndAreRefused() {
    #expect(refusal(bytes + [0])?.reason == .badLength)
  }

  @Test func aBundleBeyondTheLimitIsRefused() {
    #expect(refusal(bytes, limits: BundleLimits(fileBytesMax: bytes.count - 1))?.reason == .oversized)
    #expect(refusal(bytes, limits: BundleLimits(rawBytesMax: 100))?.reason == .oversized)
    #expect(refusal(bytes, limits: BundleLimits(fileBytesMax: bytes.count)) == nil)
  }
}

@Suite("Well sealed, and yet faulty")
struct ResealedTests {
  private let unsigned = TrustPolicy.allowingUnsigned

  @Test func mutatedSectionsNeverTrap() throws {
    let good = try assembly()
    var random = SplitMix64(seed: 2)
    var refused = 0
    for _ in 0..<4000 {
      var mutated = good
      let section = Int.random(in: 0..<good.sections.count, using: &random)
      random.mutate(&mutated.sections[section].stored)
      mutated.sections[section].rawBytes = mutated.sections[section].stored.count
      if refusal(try mutated.encode(signing: []), trust: unsigned) != nil { refused += 1 }
    }
    // Not all: another fill value is another model, not a fault.
    #expect(refused > 1000)
  }

  @Test func mutatedFramesNeverTrap() throws {
    let good = try assembly(compressing: true)
    var random = SplitMix64(seed: 3)
    for _ in 0..<2000 {
      var mutated = good
      let section = Int.random(in: 0..<good.sections.count, using: &random)
      random.mutate(&mutated.sections[section].stored)
      _ = refusal(try mutated.encode(signing: []), trust: unsigned)
    }
  }

  @Test func mutatedDirectoriesNeverTrap() throws {
    let good = try assembly().encode(signing: [])
    let directory = 64..<64 + Int(good[40]) + Int(good[41]) << 8
    var random = SplitMix64(seed: 4)
    var reachedDirectory = 0
    for _ in 0..<4000 {
      var mutated = good
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        mutated[Int.random(in: directory, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      let error = refusal(BundleAssembly.checksummed(mutated), trust: unsigned)
      if error?.reason != .badHash { reachedDirectory += 1 }
    }
    #expect(reachedDirectory > 2000, "the checksum must not keep the mutations from the decoder")
  }
}
