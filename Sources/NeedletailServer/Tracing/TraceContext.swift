/// Number of a trace: 128 bits, of which not all are 0.
struct TraceID: Hashable, BitwiseCopyable {
  var high: UInt64
  var low: UInt64
}

/// The trace that a call belongs to, as its caller tells it in `traceparent`.
///
/// Source: W3C Trace Context (Recommendation of 2021), 3.2. `tracestate` is for those who call on, which a server of
/// models does not do: it is not read.
struct TraceContext: Hashable, BitwiseCopyable {
  var trace: TraceID
  /// Span of the caller, not 0.
  var parent: UInt64
  /// Whether the caller records its part.
  var isSampled: Bool

  /// Bytes of version 00. Later versions may have more behind a dash.
  private static let bytes = 55

  init(trace: TraceID, parent: UInt64, isSampled: Bool) {
    self.trace = trace
    self.parent = parent
    self.isSampled = isSampled
  }

  /// Reads `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
  /// - Returns: nil for anything else; the recommendation asks to go on as if there were none.
  init?(_ text: UnsafeRawBufferPointer) {
    guard text.count >= Self.bytes, text[2] == Self.dash, text[35] == Self.dash, text[52] == Self.dash,
      let version = Hexadecimal.number(lowercase: text[0..<2]), version != 0xff,
      text.count == Self.bytes || (version > 0 && text[Self.bytes] == Self.dash),
      let high = Hexadecimal.number(lowercase: text[3..<19]), let low = Hexadecimal.number(lowercase: text[19..<35]),
      high | low != 0,
      let parent = Hexadecimal.number(lowercase: text[36..<52]), parent != 0,
      let flags = Hexadecimal.number(lowercase: text[53..<55])
    else { return nil }
    self.init(trace: TraceID(high: high, low: low), parent: parent, isSampled: flags & 1 == 1)
  }

  private static let dash = UInt8(ascii: "-")
}
