internal import NeedletailCore

/// A key whose signatures are accepted.
public struct TrustedKey: Sendable, Equatable {
  public enum State: String, Sendable, CaseIterable {
    case active
    /// The key signs nothing new; its signatures stay valid.
    case retired
    /// The key's signatures are no longer valid.
    case revoked
  }

  public var name: String
  public var publicKey: PublicKey
  /// Patterns of the names of models that the key may sign, with `*` and `?`.
  public var models: [String]
  public var state: State

  public init(name: String, publicKey: PublicKey, models: [String] = ["*"], state: State = .active) {
    self.name = name
    self.publicKey = publicKey
    self.models = models
    self.state = state
  }
}

/// The rule by which a server accepts bundles.
public struct TrustPolicy: Sendable, Equatable {
  public var keys: [TrustedKey]
  public var allowUnsigned: Bool
  /// Digests of manifests that are refused, in lower-case hexadecimal.
  public var revokedDigests: Set<String>
  /// Lowest version accepted, by model name.
  public var minimumVersions: [String: UInt64]

  public init(
    keys: [TrustedKey] = [], allowUnsigned: Bool = false, revokedDigests: Set<String> = [],
    minimumVersions: [String: UInt64] = [:]
  ) {
    self.keys = keys
    self.allowUnsigned = allowUnsigned
    self.revokedDigests = revokedDigests
    self.minimumVersions = minimumVersions
  }

  /// The policy of `--allow-unsigned`.
  public static let allowingUnsigned = TrustPolicy(allowUnsigned: true)
}

extension TrustPolicy {
  /// The trusted keys that signed these bytes.
  ///
  /// - Parameter signed: header and manifest.
  /// - Returns: keys whose signature is good and that are not revoked; empty only if unsigned bundles
  ///   are allowed.
  /// - Throws: `.unsigned`, `.untrusted`, `.badSignature` or `.revoked`.
  func signers(
    _ signatures: SignatureBlock, of signed: UnsafeRawBufferPointer, digest: String
  ) throws(BundleError) -> [TrustedKey] {
    guard !revokedDigests.contains(digest) else {
      throw BundleError(.revoked, "digest: expected one that is not revoked, found \(digest)")
    }
    let message = BundleFormat.signatureDomain + signed
    var good: [TrustedKey] = []
    var bad: [TrustedKey] = []
    for entry in signatures.entries {
      // The key id finds candidates; only the signature decides.
      for key in keys where key.publicKey.keyIDBytes == entry.keyID {
        if key.publicKey.isSignature(entry.signature, of: message) { good.append(key) } else { bad.append(key) }
      }
    }
    let valid = good.filter { $0.state != .revoked }
    if !valid.isEmpty { return valid }
    if let key = good.first {
      throw BundleError(
        .revoked, "signature: expected a key that is not revoked, found key \(key.name.quotedForMessage)")
    }
    if let key = bad.first {
      throw BundleError(
        .badSignature, "signature: expected one by key \(key.name.quotedForMessage), found one that does not verify")
    }
    if allowUnsigned { return [] }
    guard !signatures.entries.isEmpty else {
      throw BundleError(.unsigned, "signature: expected one by a trusted key, found none")
    }
    let ids = signatures.entries.map { Hex.text($0.keyID) }.joined(separator: ", ")
    throw BundleError(.untrusted, "signature: expected one by a trusted key, found key id \(ids)")
  }

  /// Finds the key that may sign this model, and checks that the version is still allowed.
  ///
  /// - Returns: the key; nil for a bundle that counts as unsigned.
  func signer(among signers: [TrustedKey], of manifest: BundleManifest) throws(BundleError) -> TrustedKey? {
    let model = manifest.model.name
    if let minimum = minimumVersions[model], manifest.version.number < minimum {
      throw BundleError(
        .revoked, "version: expected at least \(minimum) of model \(model.quotedForMessage), found \(manifest.version)"
      )
    }
    if let key = signers.first(where: { key in key.models.contains { NamePattern($0).matches(model) } }) {
      return key
    }
    guard let key = signers.first, !allowUnsigned else { return nil }
    throw BundleError(
      .untrusted,
      "model: expected one of \(key.models.map(\.quotedForMessage).joined(separator: ", ")) for key \(key.name.quotedForMessage), found \(model.quotedForMessage)"
    )
  }
}

/// The bytes that prove where a bundle comes from: header, manifest and signatures, a few kibibytes.
///
/// It is kept beside a loaded model, so that a change of trust takes effect at once, even if the file is gone.
public struct SignedManifest: Sendable {
  private let signed: [UInt8]
  private let signatures: SignatureBlock
  private let manifest: BundleManifest

  /// - Parameter signed: header and manifest.
  init(signed: UnsafeRawBufferPointer, signatures: SignatureBlock, manifest: BundleManifest) {
    self.signed = Array(signed)
    self.signatures = signatures
    self.manifest = manifest
  }

  /// Checks the signatures again, by the rules of ``VerifiedBundle``.
  ///
  /// - Throws: `.unsigned`, `.untrusted`, `.badSignature` or `.revoked`.
  public func check(_ trust: TrustPolicy) throws(BundleError) {
    let signers = try signed.withTypedBytes { bytes throws(BundleError) in
      try trust.signers(signatures, of: bytes, digest: manifest.digest)
    }
    _ = try trust.signer(among: signers, of: manifest)
  }
}
