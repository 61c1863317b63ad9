internal import NeedletailCore

extension TrustPolicy {
  /// Which trusted keys signed these bytes.
  ///
  /// - Parameter signed: header and directory.
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

  /// The key that may sign this model, and whether its version is still allowed.
  ///
  /// - Returns: the key, nil for a bundle that counts as unsigned.
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
