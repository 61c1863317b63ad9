internal import CNeedletailText
internal import NeedletailCore

/// Terms of texts one by one, as plans find and weigh them: the trainer learns from these.
///
/// Confined to one thread at a time.
public final class TermEncoder {
  /// Columns of the terms of one text, ascending, and their weights; valid until the next text.
  public struct Terms {
    public let columns: UnsafeBufferPointer<UInt32>
    public let weights: UnsafeBufferPointer<Float>
  }

  private let storage = PlanStorage()
  private var terms: nt_terms
  private let scratch: nt_terms_scratch
  private let textBytesMax: Int

  /// - Parameter textBytesMax: bytes of the longest text.
  /// - Throws: if the system has no memory.
  public init(_ operation: TextTerms, textBytesMax: Int) throws(PlanError) {
    terms = try operation.kernel(in: storage, for: "terms")
    self.textBytesMax = textBytesMax
    let bytes = nt_terms_scratch_bytes(&terms.analyser, textBytesMax)
    scratch = nt_terms_scratch_at(&terms.analyser, textBytesMax, try storage.allocate(bytes: bytes, for: "terms"))
  }

  /// - Precondition: the text is UTF-8 of at most as many bytes as the encoder was made for.
  public func terms(of text: UnsafeBufferPointer<UInt8>) -> Terms {
    precondition(text.count <= textBytesMax, "a text of \(text.count) bytes does not fit")
    let found = withUnsafePointer(to: scratch) { nt_terms_of(&terms, text.baseAddress, text.count, $0) }
    let weights = UnsafeRawPointer(scratch.numbers).map { $0.assumingMemoryBound(to: Float.self) }
    return Terms(
      columns: UnsafeBufferPointer(start: scratch.columns, count: found),
      weights: UnsafeBufferPointer(start: weights, count: found))
  }
}
