internal import Foundation
internal import NeedletailCore
package import NeedletailEngine

/// Reads Hugging Face's `tokenizer.json`: the model with its vocabulary, and the normaliser, the pre-tokenizer and the
/// post-processor around it. Padding and the decoder are left out, for the engine does neither.
///
/// What would change ids and is not known here is refused, with its place in the file.
package struct TokenizerImport {
  private var definition: TokenizerDefinition
  /// Ids of the model's tokens by their bytes.
  private let ids: [ForeignKey: UInt32]

  /// - Throws: `TrainingError` that names the field, what was expected and what was found.
  package static func read(_ bytes: [UInt8]) throws(TrainingError) -> TokenizerDefinition {
    try read(ForeignField(value: ForeignJSON.read(bytes), path: ""))
  }

  static func read(_ document: ForeignField) throws(TrainingError) -> TokenizerDefinition {
    var reader = try TokenizerImport(model: document.required("model"))
    try reader.readModel(document)
    reader.definition.added = try addedTokens(document.optional("added_tokens"))
    if let processor = try document.optional("post_processor") { try reader.readProcessor(processor) }
    if let truncation = try document.optional("truncation") { try reader.readTruncation(truncation) }
    return reader.definition
  }

  // MARK: - vocabulary

  /// Reads the tokens. Their ids stand beside them; those of Unigram are their places.
  private init(model: ForeignField) throws(TrainingError) {
    let vocabulary = try model.required("vocab")
    var tokens: [(text: String, id: UInt32)] = []
    switch vocabulary.value {
    case .object:
      for (key, field) in try vocabulary.fields {
        tokens.append((key, UInt32(try field.integer(in: 0...Self.idMax))))
      }
      tokens.sort { $0.id < $1.id }
    default:
      for (id, entry) in try vocabulary.elements.enumerated() {
        let pair = try Self.pair(entry, "a token and its score")
        tokens.append((try pair.0.text, UInt32(clamping: id)))
      }
    }
    definition = TokenizerDefinition(
      model: .wordPieces(TokenizerDefinition.WordPieces()), tokens: PackedTexts(tokens.map(\.text)))
    let isInOrder = tokens.enumerated().allSatisfy { $0.offset == Int($0.element.id) }
    definition.ids = isInOrder ? [] : tokens.map(\.id)
    ids = Dictionary(tokens.map { (ForeignKey($0.text), $0.id) }) { first, _ in first }
  }

  private static let idMax = 1 << 24

  private static func pair(
    _ field: ForeignField, _ what: String
  ) throws(TrainingError) -> (ForeignField, ForeignField) {
    let elements = try field.elements
    guard elements.count == 2 else { throw field.fault(what, found: "\(elements.count) values") }
    return (elements[0], elements[1])
  }

  private mutating func readModel(_ document: ForeignField) throws(TrainingError) {
    let model = try document.required("model")
    let normaliser = try Self.steps(document.optional("normalizer"), "normalizers")
    let splitter = try Self.steps(document.optional("pre_tokenizer"), "pretokenizers")
    switch try model.optional("type")?.text {
    case "WordPiece": definition.model = .wordPieces(try wordPieces(model, normaliser, splitter))
    case "BPE": definition.model = .bytePairs(try bytePairs(model, normaliser, splitter))
    case "Unigram": definition.model = .unigrams(try unigrams(model, normaliser, splitter))
    case let other:
      throw model.fault("type WordPiece, BPE or Unigram", found: other?.quotedForMessage ?? "none")
    }
    if let place = try model.optional("unk_id") {
      definition.unknown = UInt32(try place.integer(in: 0...Self.idMax))
    } else if let unknown = try model.optional("unk_token") {
      definition.unknown = ids[ForeignKey(try unknown.text)]
    }
  }

  /// The parts of a normaliser or pre-tokenizer: those of a sequence, or itself.
  private static func steps(_ field: ForeignField?, _ key: String) throws(TrainingError) -> [ForeignField] {
    guard let field else { return [] }
    guard try field.required("type").text == "Sequence" else { return [field] }
    return try field.required(key).elements
  }

  // MARK: - models

  private func wordPieces(
    _ model: ForeignField, _ normaliser: [ForeignField], _ splitter: [ForeignField]
  ) throws(TrainingError) -> TokenizerDefinition.WordPieces {
    var read = TokenizerDefinition.WordPieces()
    if let prefix = try model.optional("continuing_subword_prefix") { read.continuingPrefix = try prefix.text }
    if let longest = try model.optional("max_input_chars_per_word") {
      read.wordCharactersMax = try longest.integer(in: 1...Self.idMax)
    }
    (read.cleansText, read.splitsIdeographs) = (false, false)
    (read.stripsAccents, read.lowercases) = (false, false)
    if let step = normaliser.first {
      guard normaliser.count == 1, try step.required("type").text == "BertNormalizer" else {
        throw step.fault("one BertNormalizer", found: "\(normaliser.count) with \(try Self.words(step))")
      }
      read.cleansText = try step.optional("clean_text")?.boolean ?? true
      read.splitsIdeographs = try step.optional("handle_chinese_chars")?.boolean ?? true
      read.lowercases = try step.optional("lowercase")?.boolean ?? true
      read.stripsAccents = try step.optional("strip_accents")?.boolean ?? read.lowercases
    }
    guard splitter.count == 1, try splitter[0].required("type").text == "BertPreTokenizer" else {
      throw model.fault("a BertPreTokenizer before WordPiece", found: try Self.words(splitter.first))
    }
    return read
  }

  private func bytePairs(
    _ model: ForeignField, _ normaliser: [ForeignField], _ splitter: [ForeignField]
  ) throws(TrainingError) -> TokenizerDefinition.BytePairs {
    var read = TokenizerDefinition.BytePairs()
    if let step = normaliser.first { throw step.fault("no normalizer before BPE", found: try Self.words(step)) }
    guard splitter.count == 1, try splitter[0].required("type").text == "ByteLevel",
      try splitter[0].optional("use_regex")?.boolean ?? true
    else {
      throw model.fault(
        "a ByteLevel pre-tokenizer with its regular expression before BPE", found: try Self.words(splitter.first))
    }
    read.prefixesSpace = try splitter[0].optional("add_prefix_space")?.boolean ?? true
    if let dropout = try model.optional("dropout"), try dropout.number != 0 {
      throw dropout.fault("none", found: "\(try dropout.number)")
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let mark = try model.optional(key), try !mark.text.isEmpty {
        throw mark.fault("none", found: try mark.text.quotedForMessage)
      }
    }
    read.ignoresMerges = try model.optional("ignore_merges")?.boolean ?? false
    for merge in try model.required("merges").elements {
      let both: [String]
      if case .text(let text) = merge.value {
        both = text.split(separator: " ", omittingEmptySubsequences: false).map { String($0) }
        guard both.count == 2 else {
          throw merge.fault("two tokens with a space between them", found: text.quotedForMessage)
        }
      } else {
        let pair = try Self.pair(merge, "two tokens")
        both = [try pair.0.text, try pair.1.text]
      }
      for token in both {
        guard let id = ids[ForeignKey(token)] else {
          throw merge.fault("tokens of the vocabulary", found: token.quotedForMessage)
        }
        read.merges.append(id)
      }
    }
    return read
  }

  /// Normalisers and pre-tokenizers in the one order in which SentencePiece's models have them, each at most once.
  private func unigrams(
    _ model: ForeignField, _ normaliser: [ForeignField], _ splitter: [ForeignField]
  ) throws(TrainingError) -> TokenizerDefinition.Unigrams {
    var read = TokenizerDefinition.Unigrams()
    for entry in try model.required("vocab").elements {
      read.scores.append(try Self.pair(entry, "a token and its score").1.number)
    }
    read.fallsBackToBytes = try model.optional("byte_fallback")?.boolean ?? false
    var last = -1
    for step in normaliser {
      let place: Int
      switch try step.required("type").text {
      case "Precompiled":
        place = 0
        let text = try step.required("precompiled_charsmap")
        guard let map = Data(base64Encoded: try text.text) else { throw text.fault("base64") }
        read.characterMap = Array(map)
      case "Strip":
        place = 1
        read.stripsLeft = try step.optional("strip_left")?.boolean ?? true
        read.stripsRight = try step.optional("strip_right")?.boolean ?? true
      case "Replace":
        place = 2
        guard try step.required("pattern").optional("Regex")?.text == " {2,}",
          ["▁", " "].contains(try step.required("content").text)
        else { throw step.fault("a Replace of several spaces by one", found: "another") }
        read.collapsesSpaces = true
      default: throw step.fault("Precompiled, Strip or Replace before Unigram", found: try Self.words(step))
      }
      guard place > last else { throw step.fault("Precompiled, Strip, Replace in this order", found: "another") }
      last = place
    }
    last = -1
    guard !splitter.isEmpty else { throw model.fault("a Metaspace before Unigram", found: "no pre-tokenizer") }
    for step in splitter {
      let place: Int
      switch try step.required("type").text {
      case "WhitespaceSplit":
        place = 0
        read.splitsSpaces = true
      case "Metaspace":
        place = 1
        try readMetaspace(step, into: &read)
      default: throw step.fault("WhitespaceSplit or Metaspace before Unigram", found: try Self.words(step))
      }
      guard place > last else { throw step.fault("WhitespaceSplit before Metaspace", found: "another order") }
      last = place
    }
    guard last == 1 else { throw model.fault("a Metaspace before Unigram", found: try Self.words(splitter.first)) }
    return read
  }

  private func readMetaspace(
    _ step: ForeignField, into read: inout TokenizerDefinition.Unigrams
  ) throws(TrainingError) {
    let mark = try step.required("replacement")
    guard try mark.text == "▁" else { throw mark.fault("▁", found: try mark.text.quotedForMessage) }
    read.splitsMarks = try step.optional("split")?.boolean ?? true
    switch try step.optional("prepend_scheme")?.text ?? "always" {
    case "never": read.spaceMark = .never
    case "first": read.spaceMark = .first
    case "always": read.spaceMark = .always
    case let other: throw step.fault("prepend_scheme never, first or always", found: other.quotedForMessage)
    }
    // The key of files from before prepend_scheme; the library refuses one that contradicts it.
    if let prefixes = try step.optional("add_prefix_space"), try !prefixes.boolean, read.spaceMark != .never {
      throw prefixes.fault("true, or prepend_scheme never", found: "false")
    }
  }

  private static func words(_ step: ForeignField?) throws(TrainingError) -> String {
    try step?.required("type").text.quotedForMessage ?? "none"
  }

  // MARK: - around the model

  private static func addedTokens(
    _ field: ForeignField?
  ) throws(TrainingError) -> [TokenizerDefinition.AddedToken] {
    var tokens: [TokenizerDefinition.AddedToken] = []
    for token in try field?.elements ?? [] {
      var added = TokenizerDefinition.AddedToken(
        try token.required("content").text, id: UInt32(try token.required("id").integer(in: 0...idMax)))
      try added.readProperties(token)
      tokens.append(added)
    }
    return tokens
  }

  private mutating func readProcessor(_ field: ForeignField) throws(TrainingError) {
    switch try field.required("type").text {
    case "Sequence":
      for part in try field.required("processors").elements { try readProcessor(part) }
    case "TemplateProcessing":
      definition.single = try template(field.required("single"), field)
      definition.pair = try template(field.required("pair"), field)
    case "BertProcessing":
      try setTemplates(field, between: 0, secondType: 1)
    case "RobertaProcessing":
      try setTemplates(field, between: 1, secondType: 0)
      try setTrimming(field)
    case "ByteLevel": try setTrimming(field)
    case let other:
      throw field.fault(
        "a post-processor TemplateProcessing, BertProcessing, RobertaProcessing or ByteLevel",
        found: other.quotedForMessage)
    }
  }

  private func template(
    _ parts: ForeignField, _ processor: ForeignField
  ) throws(TrainingError) -> [TokenizerDefinition.Piece] {
    var pieces: [TokenizerDefinition.Piece] = []
    for part in try parts.elements {
      if let text = try part.optional("Sequence") {
        let name = try text.required("id")
        switch try name.text {
        case "A": pieces.append(.init(.first, type: try Self.type(text)))
        case "B": pieces.append(.init(.second, type: try Self.type(text)))
        case let other: throw name.fault("A or B", found: other.quotedForMessage)
        }
        continue
      }
      let token = try part.required("SpecialToken")
      let ids = try processor.required("special_tokens").required(token.required("id").text).required("ids")
      for id in try ids.integers(in: 0...Self.idMax) {
        pieces.append(.init(.special, id: UInt32(id), type: try Self.type(token)))
      }
    }
    return pieces
  }

  private static func type(_ field: ForeignField) throws(TrainingError) -> UInt8 {
    UInt8(try field.required("type_id").integer(in: 0...255))
  }

  /// The templates of BERT's and RoBERTa's processors, which name their two tokens only.
  private mutating func setTemplates(
    _ field: ForeignField, between: Int, secondType: UInt8
  ) throws(TrainingError) {
    func id(_ key: String) throws(TrainingError) -> UInt32 {
      UInt32(try Self.pair(field.required(key), "a token and its id").1.integer(in: 0...Self.idMax))
    }
    let (start, end) = (try id("cls"), try id("sep"))
    definition.single = [.init(.special, id: start), .init(.first), .init(.special, id: end)]
    definition.pair =
      definition.single + [TokenizerDefinition.Piece](repeating: .init(.special, id: end), count: between)
      + [.init(.second, type: secondType), .init(.special, id: end, type: secondType)]
  }

  private mutating func setTrimming(_ field: ForeignField) throws(TrainingError) {
    guard case .bytePairs(var model) = definition.model else { return }
    model.trimsOffsets = try field.optional("trim_offsets")?.boolean ?? true
    model.keepsPrefixSpace = try field.optional("add_prefix_space")?.boolean ?? true
    definition.model = .bytePairs(model)
  }

  private mutating func readTruncation(_ field: ForeignField) throws(TrainingError) {
    if let direction = try field.optional("direction"), try direction.text != "Right" {
      throw direction.fault("Right", found: try direction.text.quotedForMessage)
    }
    // A stride only matters for the tokens that were cut off, which are dropped here.
    definition.tokensMax = try field.required("max_length").integer(in: 1...Self.idMax)
    switch try field.required("strategy").text {
    case "LongestFirst": definition.truncation = .longestFirst
    case "OnlyFirst": definition.truncation = .onlyFirst
    case "OnlySecond": definition.truncation = .onlySecond
    case let other:
      throw field.fault("strategy LongestFirst, OnlyFirst or OnlySecond", found: other.quotedForMessage)
    }
  }
}

extension TokenizerDefinition.AddedToken {
  /// Takes over the properties that both `tokenizer.json` and `tokenizer_config.json` spell like this.
  mutating func readProperties(_ field: ForeignField) throws(TrainingError) {
    isSingleWord = try field.optional("single_word")?.boolean ?? false
    stripsLeft = try field.optional("lstrip")?.boolean ?? false
    stripsRight = try field.optional("rstrip")?.boolean ?? false
    isNormalised = try field.optional("normalized")?.boolean ?? false
  }
}
