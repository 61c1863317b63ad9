internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailYAML

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

extension TrustPolicy {
  static let fileBytesMax = 1 << 20

  /// Reads a trust file:
  /// ```yaml
  /// keys:
  ///   - name: release
  ///     public_key: ed25519:…
  ///     models: ["fraud-*"]     # absent: all
  ///     state: active           # retired still verifies, revoked never
  /// revoked_digests: []
  /// minimum_versions: {fraud-eu: 12}
  /// ```
  ///
  /// - Throws: `.io`, or `.badTrustFile` that names the line.
  public static func load(path: String) throws(BundleError) -> TrustPolicy {
    try parse(TextFile.read(path, bytesMax: fileBytesMax, reason: .badTrustFile), path: path)
  }

  /// Reads the text of a trust file; an empty one trusts no key.
  ///
  /// - Parameter path: path of the file in messages.
  static func parse(_ text: String, path: String) throws(BundleError) -> TrustPolicy {
    do throws(YAMLError) {
      return try TrustPolicy(YAMLNode.parse(text, file: path))
    } catch {
      throw BundleError(.badTrustFile, error.description)
    }
  }

  private init(_ file: YAMLNode) throws(YAMLError) {
    self.init()
    var names = Set<String>()
    for entry in try file.entries(known: ["keys", "revoked_digests", "minimum_versions"]) {
      switch entry.word {
      case "keys":
        for node in try entry.value.elements() {
          let key = try TrustedKey(node)
          guard names.insert(key.name).inserted else {
            throw node.wrong(expected: "every name once", found: "\(key.name.quotedForMessage) twice")
          }
          keys.append(key)
        }
      case "revoked_digests":
        for node in try entry.value.elements() { revokedDigests.insert(try Self.digest(node)) }
      default:
        for minimum in try entry.value.entries() {
          guard let version = ModelVersion(decimal: try minimum.value.text()) else {
            throw minimum.value.wrong(expected: "a number from 1")
          }
          minimumVersions[minimum.word] = version.number
        }
      }
    }
  }

  private static func digest(_ node: YAMLNode) throws(YAMLError) -> String {
    let digest = try node.text().lowercased()
    guard digest.utf8.count == 64, digest.allSatisfy({ $0.isHexDigit && $0.isASCII }) else {
      throw node.wrong(expected: "64 hexadecimal digits")
    }
    return digest
  }
}

extension TrustedKey {
  fileprivate init(_ node: YAMLNode) throws(YAMLError) {
    var name: String?
    var publicKey: PublicKey?
    var models = ["*"]
    var state = State.active
    for entry in try node.entries(known: ["name", "public_key", "models", "state"]) {
      switch entry.word {
      case "name": name = try entry.value.text()
      case "public_key": publicKey = try Self.publicKey(entry.value)
      case "models":
        models = try entry.value.elements().map { item throws(YAMLError) in try item.text() }
      default: state = try entry.value.choice()
      }
    }
    guard let name, !name.isEmpty else { throw node.wrong(expected: "a name", found: "none") }
    guard let publicKey else {
      throw node.wrong(expected: "for \(name.quotedForMessage) a public_key", found: "none")
    }
    self.init(name: name, publicKey: publicKey, models: models, state: state)
  }

  private static func publicKey(_ node: YAMLNode) throws(YAMLError) -> PublicKey {
    let text = try node.text()
    guard let key = try? PublicKey(text: text) else {
      // The text is not quoted, because it may be a private key.
      throw node.wrong(expected: "ed25519: and 32 bytes as base64", found: "something else")
    }
    return key
  }
}
