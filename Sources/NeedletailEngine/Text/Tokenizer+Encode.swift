internal import CNeedletailText
public import NeedletailCore

extension Tokenizer {
  /// The tokens of one text or of two.
  public struct Encoding: Equatable, Sendable {
    public var ids: [UInt32] = []
    /// First byte that each token covers in its own text; 0 for a special token of the template.
    public var starts: [Int] = []
    /// End of the bytes that each token covers; 0 for a special token of the template.
    public var ends: [Int] = []
    /// Number of the word that each token is part of; nil for a special token of the template.
    public var words: [Int?] = []
    public var types: [UInt8] = []
    /// 1 for each token of the second text, else 0.
    public var texts: [UInt8] = []
  }

  /// Encodes UTF-8, for tools and tests: makes its scratch anew for each call.
  ///
  /// - Parameter special: whether the special tokens of the templates are added.
  /// - Throws: `.invalidArgument` that says what is wrong with the text, or `.resourceExhausted`.
  public func encode(
    _ first: [UInt8], _ second: [UInt8]? = nil, special: Bool = true
  ) throws(ServingError) -> Encoding {
    let bytesMax = max(first.count, second?.count ?? 0, 1)
    // A character becomes several in normalisation, and each byte of it a token.
    let tokensMax = min(4 * bytesMax + 64, Int(NT_TEXT_BYTES_MAX))
    let bytes = nt_text_scratch_bytes(vocabulary.pointer, bytesMax, tokensMax)
    guard bytes > 0 else {
      throw .invalidArgument("text: expected at most \(NT_TEXT_BYTES_MAX) bytes, found \(bytesMax)")
    }
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    defer { memory.deallocate() }
    let scratch = nt_text_scratch_make(vocabulary.pointer, bytesMax, tokensMax, memory)
    var found = nt_text_tokens()
    var place = 0
    let status = first.withUnsafeBufferPointer { first in
      let text = nt_text(bytes: first.baseAddress, count: first.count)
      guard let second else {
        return nt_text_encode(vocabulary.pointer, scratch, text, nil, special, &found, &place)
      }
      return second.withUnsafeBufferPointer { second in
        var pair = nt_text(bytes: second.baseAddress, count: second.count)
        return nt_text_encode(vocabulary.pointer, scratch, text, &pair, special, &found, &place)
      }
    }
    guard status == NT_TEXT_OK else { throw Self.error(status, at: place) }
    let places = 0..<found.count
    var encoding = Encoding()
    encoding.ids = places.map { found.ids[$0] }
    encoding.starts = places.map { Int(found.starts[$0]) }
    encoding.ends = places.map { Int(found.ends[$0]) }
    encoding.words = places.map { found.words[$0] == UInt32.max ? nil : Int(found.words[$0]) }
    encoding.types = places.map { found.types[$0] }
    encoding.texts = places.map { found.sequences[$0] }
    return encoding
  }

  /// What `nt_text_encode` refused, in words.
  ///
  /// - Parameter place: its `where`.
  static func error(_ status: nt_text_status, at place: Int) -> ServingError {
    switch status {
    case NT_TEXT_INVALID_UTF8: .invalidArgument("text: expected UTF-8, found another byte at \(place)")
    case NT_TEXT_TOO_LONG:
      .invalidArgument("text: expected at most \(place) bytes that do not grow when normalised, found more")
    case NT_TEXT_TOO_MANY_TOKENS: .invalidArgument("text: expected at most \(place) tokens, found more")
    case NT_TEXT_CANNOT_TRUNCATE:
      .invalidArgument("text: expected the text that is truncated to be long enough, found it too short")
    case NT_TEXT_NO_UNKNOWN_TOKEN:
      .invalidArgument("text: expected text that the vocabulary covers, found some, and no unknown token")
    default: .invalidArgument("text: expected one that can be tokenised, found status \(status.rawValue)")
    }
  }
}
