internal import Glibc
public import NeedletailCore
internal import NeedletailCrypto
package import NeedletailSystem

/// A private copy of a bundle's bytes that is read once: the bytes that were verified are those that are decoded, even
/// if the file changes in between.
///
/// It is anonymous memory and not a mapping of the file: a mapped file that another program truncates would kill the
/// process with SIGBUS.
///
/// `@unchecked Sendable`: the memory is written before `init` returns and only read afterwards.
public final class BundleFile: @unchecked Sendable {
  /// Number of bytes.
  public let count: Int
  private let memory: UnsafeMutableRawPointer

  /// - Throws: `.io` if the system has no memory for a copy.
  public convenience init(bytes: [UInt8]) throws(BundleError) {
    try self.init(count: bytes.count)
    bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: memory, count: count).copyMemory(from: $0) }
  }

  private init(count: Int) throws(BundleError) {
    guard let memory = PageMemory.map(bytes: max(count, 1)) else {
      throw BundleError(SystemError("map \(count) bytes for a bundle"))
    }
    self.memory = memory
    self.count = count
  }

  deinit { PageMemory.unmap(memory, bytes: max(count, 1)) }

  /// A copy of the bytes.
  package var bytes: [UInt8] { withBytes { Array($0) } }

  /// SHA-256 of the bytes, taken in pieces.
  package var sha256: [UInt8] {
    withBytes { bytes in
      var hash = SHA256()
      for start in stride(from: 0, to: bytes.count, by: Pieces.bytes) {
        hash.update(UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + Pieces.bytes, bytes.count)]))
      }
      return hash.finalize()
    }
  }

  /// Calls `body` with the bytes, which are valid during the call.
  func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(start: memory, count: count))
  }

  /// Reads the whole file into private memory.
  ///
  /// - Throws: `.io`, or `.oversized`, `.truncated` and `.badLength` where the file is larger than
  ///   `limits` allow, shrinks or grows meanwhile.
  public static func open(path: String, limits: BundleLimits = BundleLimits()) throws(BundleError) -> BundleFile {
    let descriptor = try openFile(path)
    let size = try byteCount(descriptor)
    guard size <= limits.fileBytesMax else {
      throw BundleError(.oversized, "\(path): expected at most \(limits.fileBytesMax) bytes, found \(size)")
    }
    let file = try BundleFile(count: size)
    let found = try read(descriptor, into: UnsafeMutableRawBufferPointer(start: file.memory, count: size))
    guard found == size else {
      throw BundleError(.truncated, "\(path): expected \(size) bytes, found \(found): it shrank while it was read")
    }
    var extra: [UInt8] = [0]
    guard
      try extra.withTypedMutableBytes({ byte throws(BundleError) in try read(descriptor, into: byte) }) == 0
    else {
      throw BundleError(.badLength, "\(path): expected \(size) bytes, found more: it grew while it was read")
    }
    return file
  }

  private static func openFile(_ path: String) throws(BundleError) -> FileDescriptor {
    do throws(FileReadError) {
      return try FileDescriptor.regularFile(path)
    } catch {
      throw BundleError(error, path: path)
    }
  }

  private static func byteCount(_ file: borrowing FileDescriptor) throws(BundleError) -> Int {
    do throws(SystemError) { return try file.byteCount() } catch { throw BundleError(error) }
  }

  /// - Returns: bytes read; fewer than asked for at the end of the file.
  private static func read(
    _ file: borrowing FileDescriptor, into buffer: UnsafeMutableRawBufferPointer
  ) throws(BundleError) -> Int {
    do throws(SystemError) { return try file.read(into: buffer) } catch { throw BundleError(error) }
  }
}

// MARK: - Completeness

extension BundleFile {
  /// Whether a file in the store is whole.
  public enum Completeness: Sendable, Equatable {
    case complete
    /// The length differs from the header's: the file is still being written. Both are in bytes; before the header is
    /// complete, `expected` is the length of a header.
    case incomplete(found: UInt64, expected: UInt64)
    case notABundle(BundleError)
  }

  /// Compares the length of a file with its header, and reads only the header.
  public static func isComplete(path: String, limits: BundleLimits = BundleLimits()) -> Completeness {
    do throws(BundleError) {
      let descriptor = try openFile(path)
      let size = try byteCount(descriptor)
      var bytes = [UInt8](repeating: 0, count: BundleFormat.headerBytes)
      let found = try bytes.withTypedMutableBytes { buffer throws(BundleError) in
        try read(descriptor, into: buffer)
      }
      let header = try bytes.withTypedBytes { buffer throws(BundleError) in
        try BundleHeader(UnsafeRawBufferPointer(rebasing: buffer.prefix(found)), limits: limits)
      }
      return size == header.fileBytes
        ? .complete : .incomplete(found: UInt64(size), expected: UInt64(header.fileBytes))
    } catch {
      // The header is not complete yet.
      guard error.reason == .truncated, let size = try? openedSize(path) else { return .notABundle(error) }
      return .incomplete(found: UInt64(size), expected: UInt64(BundleFormat.headerBytes))
    }
  }

  private static func openedSize(_ path: String) throws(BundleError) -> Int {
    try byteCount(openFile(path))
  }
}

/// Bounds that an operator may move; all others are in `Limits`.
public struct BundleLimits: Sendable, Equatable {
  /// Largest size of one file in bytes.
  public var fileBytesMax: Int
  /// Largest size of all sections of one file together in bytes, after decompression.
  public var rawBytesMax: Int

  public init(
    fileBytesMax: Int = Limits.bundleBytesMaxDefault, rawBytesMax: Int = Limits.bundleRawBytesMaxDefault
  ) {
    self.fileBytesMax = fileBytesMax
    self.rawBytesMax = rawBytesMax
  }
}

/// The steps of verification, in their order.
public enum VerificationStep: String, Sendable, CaseIterable {
  case header
  case signature
  case directory
  case identity
  case length
  case hashes
}

/// A bundle whose signature, length and section hashes were checked against a trust policy.
///
/// It has the bytes that were checked, and decodes those.
public struct VerifiedBundle: Sendable {
  /// Model, version and sections of the bundle.
  public let manifest: BundleManifest
  /// The trusted key that signed it; nil if it is unsigned and that was allowed.
  public let signingKey: TrustedKey?
  /// Name of that key; empty for none.
  public var signer: String { signingKey?.name ?? "" }
  /// The part by which a later change of trust is judged.
  public let signedManifest: SignedManifest
  /// Key ids of all signatures in the file, trusted or not.
  public let signatureKeyIDs: [String]
  /// Bytes of the file.
  public var fileBytes: Int { file.count }

  private let file: BundleFile
  private let limits: BundleLimits
  /// The header's bits of features that a reader must know.
  private let requiredFeatures: UInt64

  /// Checks header, checksum and signature, directory, identity, length and section hashes, in this order.
  ///
  /// - Parameters:
  ///   - expecting: the name and version that the path says; nil where the path says none.
  ///   - nowMilliseconds: Unix time, for bundles that expire.
  ///   - passed: called after each step that passed.
  /// - Throws: the first fault found.
  public init(
    _ file: BundleFile, trust: TrustPolicy, expecting: (model: ModelID, version: ModelVersion)?,
    limits: BundleLimits = BundleLimits(), nowMilliseconds: UInt64,
    passed: (VerificationStep) -> Void = { _ in }
  ) throws(BundleError) {
    self.file = file
    self.limits = limits
    (manifest, signingKey, signatureKeyIDs, signedManifest, requiredFeatures) = try file.withBytes {
      bytes throws(BundleError) in
      let header = try BundleHeader(bytes, limits: limits)
      passed(.header)
      guard bytes.count >= header.signatures.upperBound else {
        throw BundleError(.truncated, "file: expected \(header.fileBytes) bytes, found \(bytes.count)")
      }
      let signatures = try SignatureBlock(UnsafeRawBufferPointer(rebasing: bytes[header.signatures]))
      let directoryBytes = UnsafeRawBufferPointer(rebasing: bytes[header.directory])
      let digest = Hex.text(SHA256.hash(directoryBytes))
      let signed = UnsafeRawBufferPointer(rebasing: bytes[..<header.directory.upperBound])
      try header.checkChecksum(of: signed)
      let signers = try trust.signers(signatures, of: signed, digest: digest)
      guard header.checksum != 0 || !signers.isEmpty else {
        throw BundleError(
          .malformed, "checksum of header and directory: expected one where no signature protects them, found none")
      }
      passed(.signature)
      let manifest = try BundleManifest(try ManifestFields(decoding: directoryBytes), digest: digest)
      try manifest.checkSizes(limits: limits)
      passed(.directory)
      try manifest.checkIdentity(expecting: expecting, nowMilliseconds: nowMilliseconds)
      let signer = try trust.signer(among: signers, of: manifest)
      passed(.identity)
      guard bytes.count == header.fileBytes else {
        throw BundleError(
          bytes.count < header.fileBytes ? .truncated : .badLength,
          "file: expected \(header.fileBytes) bytes, found \(bytes.count)")
      }
      try manifest.checkLayout(of: bytes, header: header)
      passed(.length)
      try manifest.checkHashes(of: bytes)
      passed(.hashes)
      return (
        manifest, signer, signatures.entries.map { Hex.text($0.keyID) },
        SignedManifest(signed: signed, signatures: signatures, manifest: manifest), header.requiredFeatures
      )
    }
  }

  /// Decompresses the sections and validates every index, shape and offset.
  ///
  /// - Throws: `.badCompression`, `.malformed`, `.unsupported`, `.oversized` or `.invalidGraph`.
  public func decode() throws(BundleError) -> BundleContents {
    try file.withBytes { bytes throws(BundleError) in
      try SectionReader(file: bytes, manifest: manifest, requiredFeatures: requiredFeatures).contents()
    }
  }
}

extension BundleManifest {
  /// Compares the manifest with the name, version and time that are expected. A signed bundle under another name would
  /// be a replay.
  func checkIdentity(
    expecting: (model: ModelID, version: ModelVersion)?, nowMilliseconds: UInt64
  ) throws(BundleError) {
    if let expecting {
      guard model == expecting.model else {
        throw BundleError(
          .wrongName, "model: expected \(expecting.model.name.quotedForMessage), found \(model.name.quotedForMessage)")
      }
      guard version == expecting.version else {
        throw BundleError(.wrongName, "version: expected \(expecting.version), found \(version)")
      }
    }
    guard notAfterMilliseconds == 0 || nowMilliseconds < notAfterMilliseconds else {
      throw BundleError(
        .expired,
        "not after: expected a time behind \(UnixTime.text(milliseconds: nowMilliseconds)), found \(UnixTime.text(milliseconds: notAfterMilliseconds))"
      )
    }
  }
}

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
