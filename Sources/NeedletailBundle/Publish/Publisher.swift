public import NeedletailCore

/// Puts bundles into a store so that a reader sees the old state or the new one, nothing between.
public enum Publisher {
  /// Writes `bytes` to `STORE/<model>/<version>.ntb`.
  ///
  /// - Returns: the path of the published file.
  public static func publish(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion, store: String, replace: Bool = false
  ) throws(BundleError) -> String { fatalError() }

  /// One above the highest version in the store, 1 for a new model.
  public static func nextVersion(of model: ModelID, store: String) throws(BundleError) -> ModelVersion { fatalError() }
}
