internal import CNeedletailText
internal import NeedletailCore

extension TokenizerDefinition {
  /// Number of ids: those of the model's tokens, and of the added tokens that are none of the model's.
  var idCount: Int {
    var count = tokens.count
    guard !added.isEmpty else { return count }
    // Ids fill 0 to their count, so whatever is above those of the model is new.
    let taken = ids.isEmpty ? nil : Set(ids)
    for token in added where !(taken?.contains(token.id) ?? (token.id < UInt32(tokens.count))) { count += 1 }
    return count
  }

  /// Checks counts and sizes, before plain arrays are made of them. `nt_text_build` checks what they hold.
  func check() throws(GraphFault) {
    try Self.check("tokens", tokens.count, 1...Int(NT_TEXT_TOKENS_MAX / 2))
    try Self.check("bytes of all tokens", tokens.bytes.count, 1...Int(NT_TEXT_VOCABULARY_BYTES_MAX))
    guard ids.isEmpty || ids.count == tokens.count else {
      throw GraphFault("tokenizer: expected an id for each of \(tokens.count) tokens, found \(ids.count)")
    }
    try Self.check("added tokens", added.count, 0...Int(NT_TEXT_TOKENS_MAX / 2))
    for (index, token) in added.enumerated() {
      try Self.check("bytes of added token \(index)", token.text.utf8.count, 1...Int(NT_TEXT_ADDED_BYTES_MAX))
    }
    try Self.check("parts around one text", single.count, 0...Int(NT_TEXT_TEMPLATE_PIECES_MAX))
    try Self.check("parts around two texts", pair.count, 0...Int(NT_TEXT_TEMPLATE_PIECES_MAX))
    for piece in single + pair where piece.part != .special && piece.id != 0 {
      throw GraphFault("tokenizer: template: expected id 0 for a text, found \(piece.id)")
    }
    switch truncation {
    case .keepAll:
      guard tokensMax == 0 else {
        throw GraphFault("tokenizer: tokens to truncate to: expected none where all are kept, found \(tokensMax)")
      }
    default:
      let specials = max(single.count { $0.part == .special }, pair.count { $0.part == .special })
      try Self.check("tokens to truncate to", tokensMax, max(1, specials)...Int(NT_TEXT_BYTES_MAX))
    }
    if let unknown, unknown >= UInt32(idCount) {
      throw GraphFault("tokenizer: unknown token: expected an id below \(idCount), found \(unknown)")
    }
    guard !dropsUnknown || unknown != nil else {
      throw GraphFault("tokenizer: unknown tokens are dropped: expected an unknown token, found none")
    }
    switch model {
    case .wordPieces(let model):
      try Self.check("characters of a word", model.wordCharactersMax, 1...Int(NT_TEXT_WORD_CHARACTERS_MAX))
      try Self.check("bytes of the continuing prefix", model.continuingPrefix.utf8.count, 0...Self.prefixBytesMax)
    case .bytePairs(let model):
      guard model.merges.count.isMultiple(of: 2) else {
        throw GraphFault("tokenizer: expected two ids for each merge, found \(model.merges.count) ids")
      }
      try Self.check("merges", model.merges.count / 2, 0...Int(NT_TEXT_MERGES_MAX))
    case .unigrams(let model):
      guard model.scores.count == tokens.count else {
        throw GraphFault("tokenizer: expected a score for each of \(tokens.count) tokens, found \(model.scores.count)")
      }
      try Self.check("bytes of the character map", model.characterMap.count, 0...Int(NT_TEXT_CHARSMAP_BYTES_MAX))
    }
  }

  /// Bytes of what marks a token inside a word; BERT's has two.
  private static let prefixBytesMax = 64

  private static func check(
    _ what: @autoclosure () -> String, _ found: Int, _ expected: ClosedRange<Int>
  ) throws(GraphFault) {
    guard expected.contains(found) else {
      throw GraphFault(
        kind: found < expected.lowerBound ? .tooFew : .tooMany,
        "tokenizer: \(what()): expected \(expected.lowerBound) to \(expected.upperBound), found \(found)")
    }
  }

  /// What `nt_text_build` refused, in words.
  ///
  /// - Parameter place: its `where`.
  func fault(_ status: nt_text_status, at place: Int) -> GraphFault {
    func token() -> String {
      tokens.ends.indices.contains(place) ? "token \(place) \(tokens[place].quotedForMessage)" : "token \(place)"
    }
    func addedToken() -> String {
      added.indices.contains(place)
        ? "added token \(place) \(added[place].text.quotedForMessage)" : "added token \(place)"
    }
    let message: String
    switch status {
    case NT_TEXT_NO_MEMORY:
      return GraphFault(kind: .memory, "tokenizer: expected memory for \(tokens.count) tokens, found none")
    case NT_TEXT_BAD_TOKEN: message = "\(token()): expected UTF-8, found other bytes"
    case NT_TEXT_DUPLICATE_TOKEN: message = "\(token()), or an added one of that index: expected once, found twice"
    case NT_TEXT_DUPLICATE_ID:
      let id = ids.indices.contains(place) ? ids[place] : UInt32(clamping: place)
      message = "\(token()): expected an id of its own, found \(id), which another token has"
    case NT_TEXT_ID_GAP:
      let words = "expected ids that fill 0 to \(max(0, tokens.count + added.count - 1)) at most"
      message =
        ids.indices.contains(place) && Int(ids[place]) >= tokens.count + added.count
        ? "\(token()): \(words), found \(ids[place])" : "\(words), found no token with id \(place)"
    case NT_TEXT_BAD_ADDED_TOKEN:
      message =
        "\(addedToken()): expected the id of the model's token of that text, or the next free one, and a text that no other has once normalised, found id \(added.indices.contains(place) ? added[place].id : 0)"
    case NT_TEXT_BAD_MERGE:
      message = "merge \(place): expected two tokens, once, whose texts together are a token, found other ids"
    case NT_TEXT_NO_BYTE_TOKEN: message = "byte \(place): expected a token for each byte, found none"
    case NT_TEXT_BAD_SCORE: message = "\(token()): expected a finite score, found another"
    case NT_TEXT_BAD_CHARSMAP:
      message = "character map: expected one that stays inside itself, found byte \(place), which leads out of it"
    case NT_TEXT_BAD_TEMPLATE:
      message = "template: expected tokens that there are, and each text once and in order, found other parts"
    case NT_TEXT_BAD_SIZE: message = "\(token()): expected sizes within their bounds, found more"
    default:
      return GraphFault(
        kind: .unsupported,
        "tokenizer: expected words and merges that can be looked up within a few steps, found others")
    }
    return GraphFault("tokenizer: \(message)")
  }
}
