internal import Glibc
package import NeedletailSystem

/// The reason why a bundle, a key or a trust file was refused: a word for metrics and one sentence for people.
public struct BundleError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The raw value is the label of `needletail_bundles_rejected_total`.
  public enum Reason: String, Sendable, CaseIterable {
    /// The file is shorter than its header says, or than a header.
    case truncated
    case badMagic = "bad_magic"
    /// A format, feature, section, codec, operation or engine generation this reader does not know.
    case unsupported
    /// Bytes that do not follow the format.
    case malformed
    /// A size or a count is beyond one of the `Limits`.
    case oversized
    /// The file is longer than its header says.
    case badLength = "bad_length"
    case badHash = "bad_hash"
    /// There is no signature, and the trust policy asks for one.
    case unsigned
    /// No key that is trusted for this model has signed.
    case untrusted
    /// The key, the digest or the version was withdrawn.
    case revoked
    case badSignature = "bad_signature"
    /// Model or version differ from what the path says.
    case wrongName = "wrong_name"
    case expired
    case badCompression = "bad_compression"
    /// The sections decode, but do not fit together.
    case invalidGraph = "invalid_graph"
    /// The version, or a key file of that name, exists already.
    case exists
    case badKey = "bad_key"
    case badTrustFile = "bad_trust_file"
    /// The system refused to read or write.
    case io
  }

  public let reason: Reason
  /// One sentence: field, expected, found.
  public let message: String

  public init(_ reason: Reason, _ message: String) {
    self.reason = reason
    self.message = message
  }

  public var description: String { message }
}

extension BundleError {
  /// A system call that failed.
  package init(_ error: SystemError, reason: Reason = .io) { self.init(reason, error.description) }

  /// A file that could not be read as a whole.
  init(_ error: FileReadError, path: String) {
    switch error {
    case .missing: self.init(SystemError(code: ENOENT, "open \(path)"))
    case .notARegularFile: self.init(.io, "\(path): expected a regular file, found something else")
    case .tooLong(let bytesMax): self.init(.oversized, "\(path): expected at most \(bytesMax) bytes, found more")
    case .system(let error): self.init(error)
    }
  }
}

/// Small text files beside bundles: keys and trust.
enum TextFile {
  /// - Throws: `.io`, `.oversized`, or `reason` for bytes that are not UTF-8.
  static func read(_ path: String, bytesMax: Int, reason: BundleError.Reason) throws(BundleError) -> String {
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(path, bytesMax: bytesMax)
    } catch {
      throw BundleError(error, path: path)
    }
    guard let text else { throw BundleError(reason, "\(path): expected UTF-8 text, found other bytes") }
    return text
  }
}
