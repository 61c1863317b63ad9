public import NeedletailCore
internal import NeedletailCrypto

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
