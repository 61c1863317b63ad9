internal import Foundation
public import NeedletailBundle
public import NeedletailCore

/// Steps from a bundle's bytes to a version in a store.
public enum Publishing {
  /// Keys that sign a bundle.
  ///
  /// - Parameter path: a key file; nil leaves the bundle unsigned.
  /// - Throws: `TrainingError` of kind `output`, as all of these functions.
  public static func keys(_ path: String?) throws(TrainingError) -> [SigningKey] {
    guard let path else { return [] }
    do throws(BundleError) {
      return [try SigningKey(file: path)]
    } catch {
      throw TrainingError(error)
    }
  }

  /// Version to publish under: the one asked for, else the next free one of the store, else 1.
  public static func version(
    _ number: UInt64?, of model: ModelID, store: String?
  ) throws(TrainingError) -> ModelVersion {
    if let number {
      guard let version = ModelVersion(number) else { throw .output("version: expected a number from 1, found 0") }
      return version
    }
    guard let store else { return .first }
    do throws(BundleError) {
      return try Publisher.nextVersion(of: model, store: store)
    } catch {
      throw TrainingError(error)
    }
  }

  /// Writes a bundle into a store.
  ///
  /// - Returns: its path there.
  public static func publish(
    _ bytes: [UInt8], model: ModelID, version: ModelVersion, store: String
  ) throws(TrainingError) -> String {
    // The first model to be published finds no store yet.
    try? FileManager.default.createDirectory(atPath: store, withIntermediateDirectories: true)
    do throws(BundleError) {
      return try Publisher.publish(bytes, model: model, version: version, store: store)
    } catch {
      throw TrainingError(error)
    }
  }

  /// Takes a bundle that was trained before, gives it a version of the store, signs and publishes it.
  public static func republish(
    path: String, store: String, key: String?, version number: UInt64?
  ) throws(TrainingError) -> (model: ModelID, version: ModelVersion, path: String) {
    let keys = try keys(key)
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    let manifest: BundleManifest
    let contents: BundleContents
    do throws(BundleError) {
      let bundle = try VerifiedBundle(
        BundleFile.open(path: path), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: now)
      manifest = bundle.manifest
      contents = try bundle.decode()
    } catch {
      throw .output("\(path): \(error.message)")
    }
    let version = try version(number, of: manifest.model, store: store)
    let bytes: [UInt8]
    do throws(BundleError) {
      bytes = try BundleWriter(
        model: manifest.model, version: version, contents: contents,
        createdMilliseconds: manifest.createdMilliseconds, notAfterMilliseconds: manifest.notAfterMilliseconds
      ).encode(signing: keys)
    } catch {
      throw TrainingError(error)
    }
    return (manifest.model, version, try publish(bytes, model: manifest.model, version: version, store: store))
  }
}

extension ModelVersion {
  /// Version 1, the first one of a model.
  static var first: ModelVersion {
    guard let version = ModelVersion(1) else { preconditionFailure("1 is a version") }
    return version
  }
}
