internal import NeedletailCore
package import NeedletailEngine

/// Reads a tokenizer of BERT's kind from `vocab.txt`, which has a token a line, and `tokenizer_config.json`: what a folder
/// without `tokenizer.json` has. The result is the tokenizer that transformers' `BertTokenizer` makes of both.
package struct VocabularyImport {
  /// - Parameter configuration: bytes of `tokenizer_config.json`; nil: all settings have their defaults.
  /// - Throws: `TrainingError` that names the line or the field, what was expected and what was found.
  package static func read(
    _ bytes: [UInt8], configuration: [UInt8]?
  ) throws(TrainingError) -> TokenizerDefinition {
    let lines = try lines(of: bytes)
    var definition = TokenizerDefinition(
      model: .wordPieces(TokenizerDefinition.WordPieces()), tokens: PackedTexts(lines))
    let document = ForeignField(
      value: try configuration.map { (bytes) throws(TrainingError) in try ForeignJSON.read(bytes) } ?? .object([:]),
      path: "")
    let ids = Dictionary(lines.enumerated().map { (ForeignKey($0.element), UInt32($0.offset)) }) { first, _ in first }
    let special = try SpecialTokens(document)
    definition.model = .wordPieces(try model(document))
    definition.unknown = ids[ForeignKey(special.unknown)]
    var places: [UInt32] = []
    for token in [special.classification, special.separator] {
      guard let id = ids[ForeignKey(token)] else {
        throw .importing("expected a line \(token.quotedForMessage), which stands around each text, found none")
      }
      places.append(id)
    }
    let (start, end) = (places[0], places[1])
    definition.single = [.init(.special, id: start), .init(.first), .init(.special, id: end)]
    definition.pair = definition.single + [.init(.second, type: 1), .init(.special, id: end, type: 1)]
    definition.added = try added(document, special, ids)
    return definition
  }

  /// The lines without what ends them; the last one need not end.
  private static func lines(of bytes: [UInt8]) throws(TrainingError) -> [String] {
    var lines: [String] = []
    for (number, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      let content = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      guard let text = String(validating: content, as: UTF8.self) else {
        throw .importing("line \(number + 1): expected UTF-8, found other bytes")
      }
      lines.append(text)
    }
    if lines.last == "" { lines.removeLast() }
    guard !lines.isEmpty else { throw .importing("expected a token a line, found none") }
    return lines
  }

  private static func model(_ document: ForeignField) throws(TrainingError) -> TokenizerDefinition.WordPieces {
    var model = TokenizerDefinition.WordPieces()
    model.lowercases = try document.optional("do_lower_case")?.boolean ?? true
    model.splitsIdeographs = try document.optional("tokenize_chinese_chars")?.boolean ?? true
    model.stripsAccents = try document.optional("strip_accents")?.boolean ?? model.lowercases
    return model
  }

  /// The special tokens, and those that were added later, with their properties where the configuration says them.
  private static func added(
    _ document: ForeignField, _ special: SpecialTokens, _ ids: [ForeignKey: UInt32]
  ) throws(TrainingError) -> [TokenizerDefinition.AddedToken] {
    var tokens: [UInt32: TokenizerDefinition.AddedToken] = [:]
    for (key, field) in try document.optional("added_tokens_decoder")?.fields ?? [] {
      guard let id = UInt32(key) else { throw field.fault("an id as its key", found: key.quotedForMessage) }
      var token = TokenizerDefinition.AddedToken(try field.required("content").text, id: id)
      try token.readProperties(field)
      tokens[id] = token
    }
    for text in special.all {
      guard let id = ids[ForeignKey(text)], tokens[id] == nil else { continue }
      tokens[id] = TokenizerDefinition.AddedToken(text, id: id)
    }
    return tokens.values.sorted { $0.id < $1.id }
  }
}

/// The texts of BERT's special tokens.
private struct SpecialTokens {
  let unknown: String
  let separator: String
  let padding: String
  let classification: String
  let mask: String

  var all: [String] { [unknown, separator, padding, classification, mask] }

  init(_ document: ForeignField) throws(TrainingError) {
    func token(_ key: String, _ usual: String) throws(TrainingError) -> String {
      guard let field = try document.optional(key) else { return usual }
      if case .object = field.value { return try field.required("content").text }
      return try field.text
    }
    unknown = try token("unk_token", "[UNK]")
    separator = try token("sep_token", "[SEP]")
    padding = try token("pad_token", "[PAD]")
    classification = try token("cls_token", "[CLS]")
    mask = try token("mask_token", "[MASK]")
  }
}
