internal import CNeedletailText

/// A tokenizer's vocabulary as the kernels of `CNeedletailText` read it, in one block of memory.
///
/// `@unchecked Sendable`: the block is written before `init` returns and only read afterwards.
public final class TextVocabulary: @unchecked Sendable {
  /// For `nt_text_encode`, while this object lives.
  public let pointer: OpaquePointer

  /// Takes over a vocabulary that `nt_text_build` made.
  init(_ pointer: OpaquePointer) { self.pointer = pointer }

  deinit { nt_text_free(pointer) }

  /// Bytes of the block.
  public var byteCount: Int { nt_text_vocabulary_bytes(pointer) }
}
