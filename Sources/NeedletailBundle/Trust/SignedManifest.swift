/// The bytes that prove where a bundle comes from: header, manifest and signatures, a few kibibytes.
///
/// Kept beside a loaded model, it lets a change of trust be judged at once, even if the file is gone.
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

  /// Judges the signatures anew, by the rules of ``VerifiedBundle``.
  ///
  /// - Throws: `.unsigned`, `.untrusted`, `.badSignature` or `.revoked`.
  public func check(_ trust: TrustPolicy) throws(BundleError) {
    let signers = try signed.withTypedBytes { bytes throws(BundleError) in
      try trust.signers(signatures, of: bytes, digest: manifest.digest)
    }
    _ = try trust.signer(among: signers, of: manifest)
  }
}
