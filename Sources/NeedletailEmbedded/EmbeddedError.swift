internal import CNeedletailEmbedded
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// Reason why a call of the C interface failed.
struct EmbeddedError: Error {
  let code: ntl_code
  /// One sentence: the field, what was expected, what was found.
  let message: String

  init(_ code: ntl_code, _ message: String) {
    self.code = code
    self.message = message
  }

  init(_ error: ServingError) {
    let code: ntl_code =
      switch error.code {
      case .invalidArgument: NTL_INVALID_ARGUMENT
      case .notFound: NTL_NOT_FOUND
      default: NTL_INTERNAL
      }
    self.init(code, error.message)
  }

  init(_ error: BundleError) {
    let code: ntl_code =
      switch error.reason {
      case .truncated: NTL_TRUNCATED
      case .badMagic: NTL_BAD_MAGIC
      case .unsupported: NTL_UNSUPPORTED
      case .malformed: NTL_MALFORMED
      case .oversized: NTL_OVERSIZED
      case .badLength: NTL_BAD_LENGTH
      case .badHash: NTL_BAD_HASH
      case .unsigned: NTL_UNSIGNED
      case .untrusted: NTL_UNTRUSTED
      case .revoked: NTL_REVOKED
      case .badSignature: NTL_BAD_SIGNATURE
      case .wrongName: NTL_WRONG_NAME
      case .expired: NTL_EXPIRED
      case .badCompression: NTL_BAD_COMPRESSION
      case .invalidGraph: NTL_INVALID_GRAPH
      case .badKey, .badTrustFile: NTL_BAD_TRUST_FILE
      case .exists, .io: NTL_IO
      }
    self.init(code, error.message)
  }

  init(_ error: PlanError) {
    let place = error.node.map { "node \($0.quotedForMessage): " } ?? ""
    self.init(error.isMemoryShort ? NTL_MEMORY : NTL_PLAN, place + error.message)
  }

  init(_ failure: GoldenFailure) {
    self.init(failure.isMemoryShort ? NTL_MEMORY : NTL_GOLDEN, failure.description)
  }

  static func invalidArgument(_ message: String) -> EmbeddedError { EmbeddedError(NTL_INVALID_ARGUMENT, message) }

  /// Writes the error where a caller wants it, if it does.
  ///
  /// - Returns: the code.
  func write(to error: UnsafeMutablePointer<ntl_error>?) -> ntl_code {
    guard let error else { return code }
    error.pointee.code = code
    let offset = MemoryLayout<ntl_error>.size - Int(NTL_MESSAGE_BYTES)
    let place = (UnsafeMutableRawPointer(error) + offset).assumingMemoryBound(to: UInt8.self)
    let ellipsisBytes = 3
    var text = message.cut(toBytes: Int(NTL_MESSAGE_BYTES) - 1 - ellipsisBytes)
    let count = text.withUTF8 { bytes in
      if let start = bytes.baseAddress { place.update(from: start, count: bytes.count) }
      return bytes.count
    }
    place[count] = 0
    return code
  }
}
