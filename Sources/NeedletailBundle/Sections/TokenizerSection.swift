internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine

/// What makes tokens of text: vocabulary and settings.
enum TokenizerSection {
  /// Reads and compiles a tokenizer, which checks every part of it.
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> Tokenizer {
    let definition = try self.definition(bytes)
    do throws(GraphFault) { return try Tokenizer(definition) } catch { throw BundleError(error) }
  }

  private static func definition(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> TokenizerDefinition {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "tokenizer", needletail__v1__tokenizer__init)
    defer { withExtendedLifetime(memory) {} }
    let lengths = MessageValues.array(message.token_length, message.n_token_length)
    guard
      let tokens = PackedTexts(
        bytes: MessageValues.array(message.token_bytes.data, message.token_bytes.len), lengths: lengths)
    else {
      throw BundleError(
        .malformed,
        "tokenizer: expected lengths of tokens that add up to \(message.token_bytes.len) bytes, found others")
    }
    var definition = TokenizerDefinition(model: try model(message), tokens: tokens)
    definition.ids = MessageValues.array(message.token_id, message.n_token_id)
    definition.unknown = message.unknown == 0 ? nil : message.unknown - 1
    definition.dropsUnknown = message.drops_unknown != 0
    definition.added = MessageValues.messages(message.added, message.n_added).map { token in
      var added = TokenizerDefinition.AddedToken(MessageValues.text(token.text), id: token.id)
      added.isSingleWord = token.single_word != 0
      added.stripsLeft = token.strips_left != 0
      added.stripsRight = token.strips_right != 0
      added.isNormalised = token.normalised != 0
      return added
    }
    definition.single = try pieces(message.single, message.n_single, "around one text")
    definition.pair = try pieces(message.pair, message.n_pair, "around two texts")
    definition.truncation = try MessageValues.enumeration(
      message.truncation.rawValue, as: TokenizerDefinition.Truncation.self, "tokenizer: truncation")
    definition.tokensMax = Int(message.tokens_max)
    return definition
  }

  private static func model(_ message: Needletail__V1__Tokenizer) throws(BundleError) -> TokenizerDefinition.Model {
    switch message.model_case {
    case NEEDLETAIL__V1__TOKENIZER__MODEL_WORD_PIECES:
      guard let found = message.word_pieces?.pointee else { break }
      var model = TokenizerDefinition.WordPieces()
      model.continuingPrefix = MessageValues.text(found.continuing_prefix)
      model.wordCharactersMax = Int(found.word_characters_max)
      model.cleansText = found.cleans_text != 0
      model.splitsIdeographs = found.splits_ideographs != 0
      model.stripsAccents = found.strips_accents != 0
      model.lowercases = found.lowercases != 0
      return .wordPieces(model)
    case NEEDLETAIL__V1__TOKENIZER__MODEL_BYTE_PAIRS:
      guard let found = message.byte_pairs?.pointee else { break }
      var model = TokenizerDefinition.BytePairs()
      model.merges = MessageValues.array(found.merge, found.n_merge)
      model.ignoresMerges = found.ignores_merges != 0
      model.prefixesSpace = found.prefixes_space != 0
      model.trimsOffsets = found.trims_offsets != 0
      model.keepsPrefixSpace = found.keeps_prefix_space != 0
      return .bytePairs(model)
    case NEEDLETAIL__V1__TOKENIZER__MODEL_UNIGRAMS:
      guard let found = message.unigrams?.pointee else { break }
      var model = TokenizerDefinition.Unigrams()
      model.scores = MessageValues.array(found.score, found.n_score)
      model.fallsBackToBytes = found.falls_back_to_bytes != 0
      model.characterMap = MessageValues.array(found.character_map.data, found.character_map.len)
      model.stripsLeft = found.strips_left != 0
      model.stripsRight = found.strips_right != 0
      model.collapsesSpaces = found.collapses_spaces != 0
      model.splitsSpaces = found.splits_spaces != 0
      model.splitsMarks = found.splits_marks != 0
      model.spaceMark = try MessageValues.enumeration(
        found.space_mark.rawValue, as: TokenizerDefinition.SpaceMark.self, "tokenizer: space mark")
      return .unigrams(model)
    default: break
    }
    throw BundleError(
      .unsupported, "tokenizer: model: expected word pieces, byte pairs or unigrams, found none of them")
  }

  private static func pieces(
    _ start: UnsafeMutablePointer<UnsafeMutablePointer<Needletail__V1__TemplatePiece>?>?, _ count: Int,
    _ place: String
  ) throws(BundleError) -> [TokenizerDefinition.Piece] {
    try MessageValues.messages(start, count).map { piece throws(BundleError) in
      guard let type = UInt8(exactly: piece.type) else {
        throw BundleError(.oversized, "tokenizer: token type \(place): expected 0 to 255, found \(piece.type)")
      }
      return TokenizerDefinition.Piece(
        try MessageValues.enumeration(
          piece.part.rawValue, as: TokenizerDefinition.Piece.Part.self, "tokenizer: part \(place)"),
        id: piece.id, type: type)
    }
  }
}

// MARK: - Encoding

extension TokenizerSection {
  static func encode(_ definition: TokenizerDefinition) -> [UInt8] {
    let memory = MessageBuilder()
    let added = definition.added.map { token in
      memory.build(needletail__v1__added_token__init) {
        $0.text = memory.text(token.text)
        $0.id = token.id
        $0.single_word = token.isSingleWord ? 1 : 0
        $0.strips_left = token.stripsLeft ? 1 : 0
        $0.strips_right = token.stripsRight ? 1 : 0
        $0.normalised = token.isNormalised ? 1 : 0
      }
    }
    let single = definition.single.map { message(of: $0, in: memory) }
    let pair = definition.pair.map { message(of: $0, in: memory) }
    return memory.pack(
      memory.build(needletail__v1__tokenizer__init) {
        $0.token_bytes = memory.data(definition.tokens.bytes)
        $0.n_token_length = definition.tokens.count
        $0.token_length = memory.array(definition.tokens.lengths)
        $0.n_token_id = definition.ids.count
        $0.token_id = memory.array(definition.ids)
        $0.unknown = definition.unknown.map { $0 + 1 } ?? 0
        $0.drops_unknown = definition.dropsUnknown ? 1 : 0
        $0.n_added = added.count
        $0.added = memory.array(added)
        $0.n_single = single.count
        $0.single = memory.array(single)
        $0.n_pair = pair.count
        $0.pair = memory.array(pair)
        $0.truncation = Needletail__V1__Truncation(UInt32(definition.truncation.rawValue))
        $0.tokens_max = UInt32(clamping: definition.tokensMax)
        set(definition.model, in: &$0, memory)
      })
  }

  private static func set(
    _ model: TokenizerDefinition.Model, in message: inout Needletail__V1__Tokenizer, _ memory: MessageBuilder
  ) {
    switch model {
    case .wordPieces(let model):
      message.model_case = NEEDLETAIL__V1__TOKENIZER__MODEL_WORD_PIECES
      message.word_pieces = memory.build(needletail__v1__word_pieces__init) {
        $0.continuing_prefix = memory.text(model.continuingPrefix)
        $0.word_characters_max = UInt32(clamping: model.wordCharactersMax)
        $0.cleans_text = model.cleansText ? 1 : 0
        $0.splits_ideographs = model.splitsIdeographs ? 1 : 0
        $0.strips_accents = model.stripsAccents ? 1 : 0
        $0.lowercases = model.lowercases ? 1 : 0
      }
    case .bytePairs(let model):
      message.model_case = NEEDLETAIL__V1__TOKENIZER__MODEL_BYTE_PAIRS
      message.byte_pairs = memory.build(needletail__v1__byte_pairs__init) {
        $0.n_merge = model.merges.count
        $0.merge = memory.array(model.merges)
        $0.ignores_merges = model.ignoresMerges ? 1 : 0
        $0.prefixes_space = model.prefixesSpace ? 1 : 0
        $0.trims_offsets = model.trimsOffsets ? 1 : 0
        $0.keeps_prefix_space = model.keepsPrefixSpace ? 1 : 0
      }
    case .unigrams(let model):
      message.model_case = NEEDLETAIL__V1__TOKENIZER__MODEL_UNIGRAMS
      message.unigrams = memory.build(needletail__v1__unigrams__init) {
        $0.n_score = model.scores.count
        $0.score = memory.array(model.scores)
        $0.falls_back_to_bytes = model.fallsBackToBytes ? 1 : 0
        $0.character_map = memory.data(model.characterMap)
        $0.strips_left = model.stripsLeft ? 1 : 0
        $0.strips_right = model.stripsRight ? 1 : 0
        $0.collapses_spaces = model.collapsesSpaces ? 1 : 0
        $0.splits_spaces = model.splitsSpaces ? 1 : 0
        $0.splits_marks = model.splitsMarks ? 1 : 0
        $0.space_mark = Needletail__V1__SpaceMark(UInt32(model.spaceMark.rawValue))
      }
    }
  }

  private static func message(
    of piece: TokenizerDefinition.Piece, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__TemplatePiece>? {
    memory.build(needletail__v1__template_piece__init) {
      $0.part = Needletail__V1__TemplatePart(UInt32(piece.part.rawValue))
      $0.id = piece.id
      $0.type = UInt32(piece.type)
    }
  }
}
