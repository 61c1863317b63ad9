internal import CNeedletailKernels
internal import CNeedletailText
internal import NeedletailCore

/// Scratch of a tokenizer within a plan's workspace, made once for each workspace and kept from run to run: it remembers
/// the tokens of words.
struct TokenizerScratch {
  /// Keeps the vocabulary alive, which the plan's steps point to.
  var vocabulary: TextVocabulary
  /// The buffer that holds it.
  var buffer: Int
  /// Bytes of one text, and tokens of one row.
  var bytesMax: Int
  var tokensMax: Int

  /// Prepares the memory of the buffer in a new workspace.
  func make(at memory: UnsafeMutableRawPointer) {
    let made = nt_text_scratch_make(vocabulary.pointer, bytesMax, tokensMax, memory)
    precondition(made == OpaquePointer(memory), "the scratch of a tokenizer begins where its memory does")
  }
}

/// How many tokens texts may have, known before they are tokenised: rows are put together by it.
///
/// It goes by bytes alone. Counting words or letters would cost a walk over every text and bind no better: whatever a text
/// looks like, a word of rare letters has a token for each of them, and a byte-level model may leave every byte alone.
public struct TokenBound: Equatable, Sendable {
  /// Tokens of each byte at most: every model makes at least one byte of text a token, and SentencePiece's character maps
  /// make text up to four times as long.
  public var perByte: Int
  /// Tokens that no byte stands for: special ones, and a space in front of each text.
  public var perRow: Int
  /// Most tokens of a row.
  public var rowMax: Int

  /// Upper bound for a row whose texts have so many bytes; at least 1.
  @inlinable
  public func tokens(textBytes: Int) -> Int { min(rowMax, perRow + perByte * min(textBytes, rowMax)) }
}

extension PlanBuilder {
  /// Scratch that lives as long as a workspace, and which each new one prepares.
  ///
  /// - Throws: where it would be larger than any scratch may be.
  mutating func addTokenizer(_ tokenizer: Tokenizer, tokensMax: Int, for node: Int) throws(PlanError) -> Int {
    let bytesMax = options.textBytesMax
    let bytes = nt_text_scratch_bytes(tokenizer.vocabulary.pointer, bytesMax, min(tokensMax, bytesMax))
    let name = graph.nodes[node].name
    guard (1...Limits.workspaceBytesMax).contains(bytes) else {
      throw PlanError(
        node: name,
        "node \(name.quotedForMessage): expected at most \(Limits.workspaceBytesMax) bytes of scratch for texts of \(bytesMax) bytes, found \(bytes)"
      )
    }
    let buffer = addKeptBuffer(bytes: bytes)
    tokenizerScratch = TokenizerScratch(
      vocabulary: tokenizer.vocabulary, buffer: buffer, bytesMax: bytesMax, tokensMax: min(tokensMax, bytesMax))
    return buffer
  }
}

extension Tokenizer {
  /// - Parameter rowMax: most tokens of a row.
  func bound(rowMax: Int) -> TokenBound {
    let specials = [definition.single, definition.pair].map { $0.count { $0.part == .special } }.max() ?? 0
    let perByte = if case .unigrams = definition.model { 4 } else { 1 }
    return TokenBound(perByte: perByte, perRow: specials + 2, rowMax: rowMax)
  }
}
