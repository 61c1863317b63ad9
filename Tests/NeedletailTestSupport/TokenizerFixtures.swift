public import NeedletailEngine

/// Small tokenizers of every kind.
public enum TokenizerFixtures {
  public static let all = [wordPieces(), bytePairs(), unigrams()]

  /// BERT's kind with eleven tokens and one that was added.
  public static func wordPieces() -> TokenizerDefinition {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "fast", "##er", "an", "##s", "##wer", "é", "e\u{301}"]
    var definition = TokenizerDefinition(
      model: .wordPieces(TokenizerDefinition.WordPieces()), tokens: PackedTexts(tokens))
    definition.unknown = 1
    definition.added = [.init("[SEP]", id: 3), .init("<new>", id: 11)]
    definition.added[1].stripsLeft = true
    definition.single = [.init(.special, id: 2), .init(.first), .init(.special, id: 3)]
    definition.pair = definition.single + [.init(.second, type: 1), .init(.special, id: 3, type: 1)]
    definition.truncation = .longestFirst
    definition.tokensMax = 16
    return definition
  }

  /// GPT-2's kind: a token for each byte, and two merges; ids that do not ascend.
  public static func bytePairs() -> TokenizerDefinition {
    // The alphabet: visible characters stand for themselves, the others for those from U+0100.
    let visible = Array(0x21...0x7e) + Array(0xa1...0xac) + Array(0xae...0xff)
    let others = (0..<256).filter { !visible.contains($0) }
    let characters = visible + others.indices.map { 0x100 + $0 }
    var tokens = characters.map { String(Unicode.Scalar($0)!) }
    let (a, n) = (UInt32(tokens.firstIndex(of: "a")!), UInt32(tokens.firstIndex(of: "n")!))
    tokens += ["an", "ana"]
    var model = TokenizerDefinition.BytePairs()
    let count = UInt32(tokens.count)
    // The last id comes first.
    func id(_ place: UInt32) -> UInt32 { count - 1 - place }
    model.merges = [id(a), id(n), id(256), id(a)]
    model.prefixesSpace = true
    model.trimsOffsets = true
    var definition = TokenizerDefinition(model: .bytePairs(model), tokens: PackedTexts(tokens))
    definition.ids = (0..<count).map(id)
    return definition
  }

  /// SentencePiece's kind with six tokens.
  public static func unigrams() -> TokenizerDefinition {
    var model = TokenizerDefinition.Unigrams()
    model.scores = [0, 0, -1, -2.5, -1.5, -4]
    model.stripsRight = true
    model.collapsesSpaces = true
    model.splitsMarks = true
    model.spaceMark = .always
    var definition = TokenizerDefinition(
      model: .unigrams(model), tokens: PackedTexts(["<s>", "<unk>", "▁fast", "▁", "er", "f"]))
    definition.unknown = 1
    definition.single = [.init(.special, id: 0), .init(.first)]
    return definition
  }
}
