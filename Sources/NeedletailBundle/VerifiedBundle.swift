public import NeedletailCore

/// A bundle whose signature, length and section hashes were checked against a trust policy.
public struct VerifiedBundle: Sendable {
  public let directory: BundleDirectory
  /// Name of the trusted key that signed it; empty if it is unsigned and that was allowed.
  public let signer: String

  public init(
    _ file: BundleFile, trust: TrustPolicy, expecting: (model: ModelID, version: ModelVersion)?,
    limits: BundleLimits = BundleLimits(), nowMilliseconds: UInt64
  ) throws(BundleError) {
    fatalError()
  }

  /// Decompresses the sections and validates every index, shape and offset.
  public func decode() throws(BundleError) -> BundleContents { fatalError() }
}
