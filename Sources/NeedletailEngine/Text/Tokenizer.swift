internal import CNeedletailText
internal import NeedletailCore

/// A tokenizer that is ready for text: a definition whose every part was checked, and the vocabulary compiled from it.
/// Any number of threads share it.
public final class Tokenizer: Sendable {
  public let definition: TokenizerDefinition
  public let vocabulary: TextVocabulary

  /// Compiles a vocabulary, once: 30,000 tokens take some ten milliseconds.
  ///
  /// - Parameter isa: kernels that split text.
  /// - Throws: the first part at fault; `.memory` where the system has none.
  public init(
    _ definition: TokenizerDefinition, isa: InstructionSet = .selected
  ) throws(GraphFault) {
    try definition.check()
    let specification = TokenizerSpecification(definition)
    var vocabulary: OpaquePointer?
    var place = 0
    let status = nt_text_build(specification.pointer, isa.kernelSet, &vocabulary, &place)
    guard status == NT_TEXT_OK, let vocabulary else { throw definition.fault(status, at: place) }
    self.definition = definition
    self.vocabulary = TextVocabulary(vocabulary)
  }

  /// Number of ids: all are below it.
  public var idCount: Int { definition.idCount }

  /// Tokens that remain of texts, special ones included; nil where all do.
  public var tokensMax: Int? { definition.truncation == .keepAll ? nil : definition.tokensMax }
}

extension Tokenizer: Equatable {
  public static func == (a: Tokenizer, b: Tokenizer) -> Bool { a === b || a.definition == b.definition }
}

/// The definition as plain C arrays, alive as long as this object.
private final class TokenizerSpecification {
  let pointer: UnsafeMutablePointer<nt_text_spec>
  private let memory = MessageBuilder()

  deinit { pointer.deallocate() }

  init(_ definition: TokenizerDefinition) {
    pointer = .allocate(capacity: 1)
    pointer.initialize(to: nt_text_spec())
    pointer.pointee.tokens = strings(definition.tokens)
    let ids = definition.ids.isEmpty ? (0..<definition.tokens.count).map { UInt32($0) } : definition.ids
    pointer.pointee.ids = UnsafePointer(memory.array(ids))
    pointer.pointee.unknown_id = definition.unknown ?? UInt32.max
    pointer.pointee.drops_unknown = definition.dropsUnknown
    pointer.pointee.added = strings(PackedTexts(definition.added.map(\.text)))
    pointer.pointee.added_properties = UnsafePointer(memory.array(definition.added.map(Self.properties)))
    pointer.pointee.single = template(definition.single)
    pointer.pointee.pair = template(definition.pair)
    pointer.pointee.truncation = nt_text_truncation(UInt32(definition.truncation.rawValue))
    pointer.pointee.tokens_max = UInt32(definition.tokensMax)
    switch definition.model {
    case .wordPieces(let model): set(model)
    case .bytePairs(let model): set(model)
    case .unigrams(let model): set(model)
    }
  }

  private func set(_ model: TokenizerDefinition.WordPieces) {
    let prefix = Array(model.continuingPrefix.utf8)
    pointer.pointee.model = NT_TEXT_WORDPIECE
    pointer.pointee.continuing_prefix = UnsafePointer(memory.array(prefix))
    pointer.pointee.continuing_prefix_bytes = prefix.count
    pointer.pointee.word_characters_max = UInt32(model.wordCharactersMax)
    pointer.pointee.clean_text = model.cleansText
    pointer.pointee.space_ideographs = model.splitsIdeographs
    pointer.pointee.strip_accents = model.stripsAccents
    pointer.pointee.lowercase = model.lowercases
  }

  private func set(_ model: TokenizerDefinition.BytePairs) {
    pointer.pointee.model = NT_TEXT_BPE
    pointer.pointee.merge_count = model.merges.count / 2
    memory.array(model.merges)?.withMemoryRebound(to: (UInt32, UInt32).self, capacity: model.merges.count / 2) {
      pointer.pointee.merges = UnsafePointer($0)
    }
    pointer.pointee.ignore_merges = model.ignoresMerges
    pointer.pointee.add_prefix_space = model.prefixesSpace
    pointer.pointee.trim_offsets = model.trimsOffsets
    pointer.pointee.trim_prefix_space = model.keepsPrefixSpace
  }

  private func set(_ model: TokenizerDefinition.Unigrams) {
    pointer.pointee.model = NT_TEXT_UNIGRAM
    pointer.pointee.scores = UnsafePointer(memory.array(model.scores))
    pointer.pointee.byte_fallback = model.fallsBackToBytes
    pointer.pointee.charsmap = UnsafePointer(memory.array(model.characterMap))
    pointer.pointee.charsmap_bytes = model.characterMap.count
    pointer.pointee.strip_left = model.stripsLeft
    pointer.pointee.strip_right = model.stripsRight
    pointer.pointee.collapse_spaces = model.collapsesSpaces
    pointer.pointee.splits_spaces = model.splitsSpaces
    pointer.pointee.splits_marks = model.splitsMarks
    pointer.pointee.prepend = nt_text_prepend(UInt32(model.spaceMark.rawValue))
  }

  private func strings(_ texts: PackedTexts) -> nt_text_strings {
    nt_text_strings(
      bytes: UnsafePointer(memory.array(texts.bytes)), ends: UnsafePointer(memory.array(texts.ends)),
      count: texts.count)
  }

  private func template(_ pieces: [TokenizerDefinition.Piece]) -> nt_text_template {
    let made = pieces.map { piece in
      nt_text_piece(kind: nt_text_piece_kind(UInt32(piece.part.rawValue)), id: piece.id, type: piece.type)
    }
    return nt_text_template(pieces: UnsafePointer(memory.array(made)), count: made.count)
  }

  private static func properties(_ token: TokenizerDefinition.AddedToken) -> nt_text_added {
    var bits = 0
    if token.isSingleWord { bits |= NT_TEXT_SINGLE_WORD }
    if token.stripsLeft { bits |= NT_TEXT_LSTRIP }
    if token.stripsRight { bits |= NT_TEXT_RSTRIP }
    if token.isNormalised { bits |= NT_TEXT_NORMALIZED }
    return nt_text_added(id: token.id, properties: UInt32(bits))
  }
}
