public import NeedletailCore

/// Encodes a bundle. Equal input gives equal bytes, signatures aside.
public struct BundleWriter: Sendable {
  public init(
    model: ModelID, version: ModelVersion, contents: BundleContents, createdMilliseconds: UInt64,
    notAfterMilliseconds: UInt64 = 0
  ) {}

  /// The bytes of the file.
  ///
  /// - Parameter keys: each adds one signature; none leaves the bundle unsigned.
  public func encode(signing keys: [SigningKey] = []) throws(BundleError) -> [UInt8] { fatalError() }
}
