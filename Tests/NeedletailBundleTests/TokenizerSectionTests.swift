import CNeedletailProto
import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Tokenizers in bundles")
struct TokenizerSectionTests {
  private func contents(_ definition: TokenizerDefinition) throws -> BundleContents {
    var model = BundleFixtures.line(weight: 3, bias: 1)
    model.graph.tokenizer = try Tokenizer(definition)
    return BundleContents(definition: model)
  }

  @Test(arguments: TokenizerFixtures.all)
  func everyKindComesBackEqualAndAsksForFormat16(definition: TokenizerDefinition) throws {
    let contents = try contents(definition)
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 6, 0], "major and minor")
    _ = try CompiledModel(contents.definition)
  }

  @Test func aBundleOfFormat16IsStillReadAndWritten() throws {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("Fixtures/tokenizer-1.6.ntb")
    let bytes = try Array(Data(contentsOf: url))
    let contents = try contents(TokenizerFixtures.wordPieces())
    #expect(try read(bytes, trust: .allowingUnsigned) == contents)
    #expect(try assembly(contents).encode(signing: []) == bytes)
  }

  @Test func aTokenizerThatDropsUnknownTokensAsksForFormat17() throws {
    var definition = TokenizerFixtures.wordPieces()
    definition.dropsUnknown = true
    let contents = try contents(definition)
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 7, 0], "major and minor")
    #expect(bytes[16] & 8 != 0, "required features")
    var assembly = try assembly(contents)
    assembly.requiredFeatures = 0
    let unmarked = try assembly.encode(signing: [BundleFixtures.key])
    let error = #expect(throws: BundleError.self) { try read(unmarked) }
    #expect(error.map { "\($0)" }?.contains("expected bit 3 for a tokenizer that drops unknown tokens") == true)
  }

  // MARK: - what is refused

  typealias Message = UnsafeMutablePointer<Needletail__V1__Tokenizer>

  /// A bundle whose tokenizer message was changed before it was sealed.
  private func bundle(_ change: (Message) -> Void) throws -> [UInt8] {
    var assembly = try assembly(contents(TokenizerFixtures.wordPieces()))
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.tokenizer.rawValue })
    let message = try #require(
      assembly.sections[index].stored.withUnsafeBufferPointer {
        needletail__v1__tokenizer__unpack(nil, $0.count, $0.baseAddress)
      })
    change(message)
    var bytes = [UInt8](repeating: 0, count: needletail__v1__tokenizer__get_packed_size(message))
    let count = needletail__v1__tokenizer__pack(message, &bytes)
    #expect(count == bytes.count)
    assembly.sections[index].stored = bytes
    assembly.sections[index].rawBytes = bytes.count
    return try assembly.encode(signing: [BundleFixtures.key])
  }

  /// A change of the message, and how the refusal begins.
  struct BadMessage: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let reason: BundleError.Reason
    let message: String
    let change: @Sendable (Message) -> Void

    init(
      _ name: String, _ reason: BundleError.Reason, _ message: String, _ change: @escaping @Sendable (Message) -> Void
    ) {
      testDescription = name
      self.reason = reason
      self.message = message
      self.change = change
    }
  }

  private static let bad = [
    BadMessage("lengths that are too long", .malformed, "tokenizer: expected lengths of tokens that add up to 43 bytes")
    {
      $0.pointee.token_length[0] = 6
    },
    BadMessage("a length of 4 GiB", .malformed, "tokenizer: expected lengths of tokens that add up to 43 bytes") {
      $0.pointee.token_length[0] = .max
    },
    BadMessage("a token that is no UTF-8", .invalidGraph, "tokenizer: token 0 \"�PAD]\": expected UTF-8") {
      $0.pointee.token_bytes.data[0] = 0xff
    },
    BadMessage("no model", .unsupported, "tokenizer: model: expected word pieces, byte pairs or unigrams, found none") {
      $0.pointee.model_case = NEEDLETAIL__V1__TOKENIZER__MODEL__NOT_SET
    },
    BadMessage("an unknown truncation", .unsupported, "tokenizer: truncation: expected 0 to 3, found 4") {
      $0.pointee.truncation = Needletail__V1__Truncation(4)
    },
    BadMessage("an unknown part", .unsupported, "tokenizer: part around one text: expected 0 to 2, found 3") {
      $0.pointee.single[0]!.pointee.part = Needletail__V1__TemplatePart(3)
    },
    BadMessage("a large type", .oversized, "tokenizer: token type around two texts: expected 0 to 255, found 256") {
      $0.pointee.pair[0]!.pointee.type = 256
    },
    BadMessage("a huge bound", .oversized, "tokenizer: tokens to truncate to: expected 3 to 67108864, found 4294967295")
    {
      $0.pointee.tokens_max = .max
    },
    BadMessage("an unknown id", .invalidGraph, "tokenizer: unknown token: expected an id below 12, found 4294967294") {
      $0.pointee.unknown = .max
    },
    BadMessage("a long word", .oversized, "tokenizer: characters of a word: expected 1 to 256, found 4294967295") {
      $0.pointee.word_pieces.pointee.word_characters_max = .max
    },
  ]

  @Test(arguments: bad) func badMessagesAreRefused(bad: BadMessage) throws {
    let error = try refusal(bundle(bad.change))
    #expect(error?.reason == bad.reason)
    #expect(error?.message.hasPrefix(bad.message) == true, "\(error?.message ?? "")")
  }

  @Test func bytesThatAreNoMessageAreRefused() throws {
    var assembly = try assembly(contents(TokenizerFixtures.wordPieces()))
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.tokenizer.rawValue })
    for stored: [UInt8] in [[1], [0x0a, 5, 1], [0x12, 3, 0x80, 0x80, 0x80]] {
      assembly.sections[index].stored = stored
      assembly.sections[index].rawBytes = stored.count
      #expect(try refusal(assembly.encode(signing: [BundleFixtures.key]))?.reason == .malformed)
    }
  }
}
