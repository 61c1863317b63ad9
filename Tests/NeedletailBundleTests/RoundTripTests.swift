import CNeedletailProto
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailProtobuf
import NeedletailTestSupport
import Testing

@Suite("What was written is read")
struct RoundTripTests {
  private func open(_ bytes: [UInt8]) throws -> VerifiedBundle {
    try VerifiedBundle(
      BundleFile(bytes: bytes), trust: BundleFixtures.trust,
      expecting: (ModelID(BundleFixtures.modelName), ModelVersion(1)!), nowMilliseconds: 1)
  }

  @Test(arguments: [BundleFixtures.classifier(), BundleFixtures.line(weight: 3, bias: 1)])
  func contentsAreReadBackEqual(definition: ModelDefinition) throws {
    let contents = BundleFixtures.contents(definition)
    let bundle = try open(BundleFixtures.bundle(contents))
    #expect(try bundle.decode() == contents)
    #expect(bundle.signer == "release")
    #expect(bundle.manifest.createdMilliseconds == 1_760_000_000_000)
    #expect(bundle.manifest.digest.count == 64)
  }

  @Test func optionalPartsMayBeAbsent() throws {
    let contents = BundleContents(definition: BundleFixtures.line(weight: 1))
    #expect(try open(BundleFixtures.bundle(contents)).decode() == contents)
  }

  @Test func equalInputGivesEqualBytes() throws {
    #expect(try BundleFixtures.bundle(keys: []) == BundleFixtures.bundle(keys: []))
  }

  @Test func largeRepetitiveWeightsAreNotTakenForACompressionBomb() throws {
    var definition = BundleFixtures.line(weight: 1)
    definition.graph.tensors.append(
      WeightTensor(
        name: "unused", shape: [1024, 1024], storage: .float32([Float](repeating: 0, count: 1 << 20))))
    let contents = BundleContents(definition: definition)
    #expect(try open(BundleFixtures.bundle(contents)).decode() == contents)
  }

  @Test func severalKeysMaySign() throws {
    let bytes = try BundleFixtures.bundle(keys: [BundleFixtures.strangersKey, BundleFixtures.key])
    let bundle = try open(bytes)
    #expect(bundle.signer == "release")
    #expect(bundle.signatureKeyIDs.count == 2)
  }
}

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
