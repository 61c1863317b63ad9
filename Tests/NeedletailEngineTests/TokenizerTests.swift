import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Ids were read off the rules of each model by hand; Tests/text compares many more with Hugging Face's library.
@Suite("Tokenizers")
struct TokenizerTests {
  private func encoding(
    _ definition: TokenizerDefinition, _ first: String, _ second: String? = nil
  ) throws -> Tokenizer.Encoding {
    try Tokenizer(definition).encode(Array(first.utf8), second.map { Array($0.utf8) })
  }

  @Test func wordPiecesTakeTheLongestTokenThatBeginsAWord() throws {
    let found = try encoding(TokenizerFixtures.wordPieces(), "Faster answers <new>")
    #expect(found.ids == [2, 4, 5, 6, 7, 8, 7, 11, 3])
    #expect(found.starts == [0, 0, 4, 7, 9, 10, 13, 14, 0])
    #expect(found.ends == [0, 4, 6, 9, 10, 13, 14, 20, 0])
    #expect(found.words == [nil, 0, 0, 1, 1, 1, 1, 2, nil])
    #expect(found.types == [UInt8](repeating: 0, count: 9))
  }

  @Test func aSecondTextHasItsOwnTypeAndPlace() throws {
    let found = try encoding(TokenizerFixtures.wordPieces(), "fast", "an zebra")
    #expect(found.ids == [2, 4, 3, 6, 1, 3])
    #expect(found.types == [0, 0, 0, 1, 1, 1])
    #expect(found.texts == [0, 0, 0, 1, 1, 0])
  }

  @Test func textsAreTruncatedAsTheDefinitionSays() throws {
    let found = try encoding(TokenizerFixtures.wordPieces(), String(repeating: "fast ", count: 40))
    #expect(found.ids == [2] + [UInt32](repeating: 4, count: 14) + [3])
    #expect(try Tokenizer(TokenizerFixtures.wordPieces()).tokensMax == 16)
    #expect(try Tokenizer(TokenizerFixtures.unigrams()).tokensMax == nil)
  }

  @Test func unknownTokensMayBeDropped() throws {
    var definition = TokenizerFixtures.wordPieces()
    definition.dropsUnknown = true
    let found = try encoding(definition, "fast zebra <new> ? zebra [UNK] an")
    #expect(found.ids == [2, 4, 11, 6, 3])
    #expect(found.starts == [0, 0, 10, 31, 0] && found.ends == [0, 4, 16, 33, 0])
    // What is dropped was counted when the text was truncated.
    let long = try encoding(definition, String(repeating: "zebra fast ", count: 40))
    #expect(long.ids == [2] + [UInt32](repeating: 4, count: 7) + [3])
    let pair = try encoding(definition, "zebra an zebra", "zebra fast")
    #expect(pair.ids == [2, 6, 3, 4, 3] && pair.types == [0, 0, 0, 1, 1])
    var pieces = TokenizerFixtures.unigrams()
    pieces.dropsUnknown = true
    #expect(try encoding(pieces, "faster  z ").ids == [0, 2, 4, 3])
    definition.unknown = nil
    let error = #expect(throws: GraphFault.self) { try Tokenizer(definition) }
    #expect(error?.message.contains("expected an unknown token, found none") == true)
  }

  @Test func bytePairsAreMergedInTheOrderOfTheirRanks() throws {
    let definition = TokenizerFixtures.bytePairs()
    let token = { (text: String) in UInt32(257 - (0..<258).first { definition.tokens[$0] == text }!) }
    let found = try encoding(definition, "banana")
    // a n a n a: an, an, then ana.
    #expect(found.ids == [token("Ġ"), token("b"), token("an"), token("ana")])
    // The space that was put in front covers nothing, behind the byte that it was put before.
    #expect(found.starts == [1, 0, 1, 3] && found.ends == [1, 1, 3, 6])
  }

  @Test func unigramsTakeTheTokensWithTheLargestSum() throws {
    let found = try encoding(TokenizerFixtures.unigrams(), "faster  z ")
    #expect(found.ids == [0, 2, 4, 3, 1])
  }

  @Test func idsAreCountedWithTheAddedTokens() throws {
    #expect(try TokenizerFixtures.all.map { try Tokenizer($0).idCount } == [12, 258, 6])
  }

  @Test func equalDefinitionsMakeEqualTokenizers() throws {
    let tokenizer = try Tokenizer(TokenizerFixtures.wordPieces())
    #expect(try tokenizer == Tokenizer(TokenizerFixtures.wordPieces()))
    #expect(try tokenizer != Tokenizer(TokenizerFixtures.unigrams()))
    #expect(tokenizer.vocabulary.byteCount > 1000)
  }

  @Test func bytesThatAreNoTextAreRefusedWithTheirPlace() throws {
    let tokenizer = try Tokenizer(TokenizerFixtures.wordPieces())
    #expect(throws: ServingError.invalidArgument("text: expected UTF-8, found another byte at 2")) {
      try tokenizer.encode([0x61, 0x62, 0xff])
    }
    var definition = TokenizerFixtures.wordPieces()
    definition.unknown = nil
    let strict = try Tokenizer(definition)
    #expect(
      throws: ServingError.invalidArgument(
        "text: expected text that the vocabulary covers, found some, and no unknown token")
    ) { try strict.encode(Array("zebra".utf8)) }
  }

  @Test func packedTextsComeBack() {
    let texts = PackedTexts(["", "ab", "é", ""])
    #expect(texts.lengths == [0, 2, 2, 0])
    #expect(PackedTexts(bytes: texts.bytes, lengths: texts.lengths) == texts)
    #expect(PackedTexts(bytes: texts.bytes, lengths: [1, 2]) == nil)
    #expect(PackedTexts(bytes: texts.bytes, lengths: [.max, .max]) == nil)
    #expect(texts[2] == "é")
  }
}

/// A change that makes a good definition bad.
private struct BadDefinition: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let message: String
  let change: @Sendable (inout TokenizerDefinition) -> Void

  init(_ name: String, _ message: String, _ change: @escaping @Sendable (inout TokenizerDefinition) -> Void) {
    testDescription = name
    self.message = message
    self.change = change
  }
}

@Suite("Tokenizers that are refused")
struct HostileTokenizerTests {
  private static let wordPieces = [
    BadDefinition("no tokens", "tokens: expected 1 to 1048576, found 0") { $0.tokens = PackedTexts() },
    BadDefinition("ids are few", "expected an id for each of 11 tokens, found 2") { $0.ids = [0, 1] },
    BadDefinition("a token twice", "token 11 \"fast\", or an added one of that index: expected once, found twice") {
      $0.tokens.append("fast")
      $0.added = []
    },
    BadDefinition("an id twice", "token 1 \"[UNK]\": expected an id of its own, found 0, which another token has") {
      $0.ids = [0, 0] + Array(2..<11)
    },
    BadDefinition("a gap between ids", "expected ids that fill 0 to 12 at most, found no token with id 10") {
      $0.ids = Array(0..<10) + [11]
      $0.added[1].id = 12
    },
    BadDefinition("an id far away", "token 0 \"[PAD]\": expected ids that fill 0 to 12 at most, found 4000000000") {
      $0.ids = [4_000_000_000] + Array(1..<11)
    },
    BadDefinition("an unknown token that is none", "unknown token: expected an id below 12, found 4294967295") {
      $0.unknown = .max
    },
    BadDefinition("an empty added token", "bytes of added token 0: expected 1 to 512, found 0") {
      $0.added[0].text = ""
    },
    BadDefinition("a long added token", "bytes of added token 0: expected 1 to 512, found 513") {
      $0.added[0].text = String(repeating: "x", count: 513)
    },
    BadDefinition("an added token with another id", "added token 0 \"[SEP]\": expected the id of the model's token") {
      $0.added[0].id = 4
    },
    BadDefinition("an added token that vanishes", "added token 1 \"\\u{1}\": expected the id of the model's token") {
      $0.added[1].text = "\u{1}"
      $0.added[1].isNormalised = true
    },
    BadDefinition("a template without text", "template: expected tokens that there are, and each text once") {
      $0.single = [.init(.special, id: 2)]
    },
    BadDefinition("a template with an unknown id", "template: expected tokens that there are, and each text once") {
      $0.single[0].id = 12
    },
    BadDefinition("texts in the wrong order", "template: expected tokens that there are, and each text once") {
      $0.pair = [.init(.second), .init(.first)]
    },
    BadDefinition("a text with an id", "template: expected id 0 for a text, found 7") { $0.single[1].id = 7 },
    BadDefinition("a long template", "parts around one text: expected 0 to 64, found 65") {
      $0.single = [.init(.first)] + Array(repeating: .init(.special, id: 2), count: 64)
    },
    BadDefinition("truncation to less than the template", "tokens to truncate to: expected 3 to 67108864, found 2") {
      $0.tokensMax = 2
    },
    BadDefinition("a bound without truncation", "tokens to truncate to: expected none where all are kept, found 16") {
      $0.truncation = .keepAll
    },
    BadDefinition("words of no characters", "characters of a word: expected 1 to 256, found 0") {
      var model = TokenizerDefinition.WordPieces()
      model.wordCharactersMax = 0
      $0.model = .wordPieces(model)
    },
    BadDefinition("a long prefix", "bytes of the continuing prefix: expected 0 to 64, found 65") {
      var model = TokenizerDefinition.WordPieces()
      model.continuingPrefix = String(repeating: "#", count: 65)
      $0.model = .wordPieces(model)
    },
  ]

  private static let bytePairs = [
    BadDefinition("half a merge", "expected two ids for each merge, found 3 ids") {
      setMerges(&$0) { $0.removeLast() }
    },
    BadDefinition("a merge twice", "merge 2: expected two tokens, once, whose texts together are a token") {
      setMerges(&$0) { $0 += $0[..<2] }
    },
    BadDefinition("a merge of what is no token", "merge 0: expected two tokens, once, whose texts together") {
      setMerges(&$0) { $0[0] = 999 }
    },
    BadDefinition("a byte without a token", "byte 33: expected a token for each byte, found none") {
      $0.tokens = PackedTexts(bytes: Array("xx".utf8) + $0.tokens.bytes[1...], lengths: [2] + $0.tokens.lengths[1...])!
    },
  ]

  private static let unigrams = [
    BadDefinition("scores are few", "expected a score for each of 6 tokens, found 5") {
      setScores(&$0) { $0.scores.removeLast() }
    },
    BadDefinition("a score that is no number", "token 2 \"▁fast\": expected a finite score, found another") {
      setScores(&$0) { $0.scores[2] = .nan }
    },
    BadDefinition("a map of characters that is cut off", "character map: expected one that stays inside itself") {
      setScores(&$0) { $0.characterMap = [8, 0, 0, 0, 1] }
    },
  ]

  private static func setMerges(_ definition: inout TokenizerDefinition, _ change: (inout [UInt32]) -> Void) {
    guard case .bytePairs(var model) = definition.model else { return }
    change(&model.merges)
    definition.model = .bytePairs(model)
  }

  private static func setScores(
    _ definition: inout TokenizerDefinition, _ change: (inout TokenizerDefinition.Unigrams) -> Void
  ) {
    guard case .unigrams(var model) = definition.model else { return }
    change(&model)
    definition.model = .unigrams(model)
  }

  private func check(_ definition: TokenizerDefinition, _ bad: BadDefinition) throws {
    _ = try Tokenizer(definition)
    var changed = definition
    bad.change(&changed)
    let fault = #expect(throws: GraphFault.self) { try Tokenizer(changed) }
    let message = fault?.message ?? ""
    #expect(message.hasPrefix("tokenizer: \(bad.message)"), "\(message)")
  }

  @Test(arguments: wordPieces) private func wordPiecesAreRefused(bad: BadDefinition) throws {
    try check(TokenizerFixtures.wordPieces(), bad)
  }

  @Test(arguments: bytePairs) private func bytePairsAreRefused(bad: BadDefinition) throws {
    try check(TokenizerFixtures.bytePairs(), bad)
  }

  @Test(arguments: unigrams) private func unigramsAreRefused(bad: BadDefinition) throws {
    try check(TokenizerFixtures.unigrams(), bad)
  }
}
