internal import Foundation
internal import Glibc
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailObjectStore
internal import NeedletailSystem

/// A store as the trainer needs it: where versions go, and where the one that serves comes from. The control plane, which
/// reads stores for the server, is no part of the trainer.
protocol PublishStore {
  /// The store as it was named.
  var name: String { get }

  /// Checks that a model can be published, before anything that takes long.
  ///
  /// - Parameter version: the version that was asked for; nil: any.
  /// - Throws: `TrainingError` of kind `output`.
  func check(_ model: ModelID, version: ModelVersion?) throws(TrainingError)

  /// One above the highest version.
  func nextVersion(of model: ModelID) throws(BundleError) -> ModelVersion

  /// Adds a version.
  ///
  /// - Returns: where it lies, in words for people.
  /// - Throws: `.exists`, `.wrongName`, or `.io`.
  func publish(_ bytes: [UInt8], _ model: ModelID, _ version: ModelVersion) throws(BundleError) -> String

  /// Text of the model's rollout file; nil: there is none.
  func rollout(of model: ModelID) throws(BundleError) -> String?

  /// Where a version lies, in words for people.
  func place(of model: ModelID, _ version: ModelVersion) -> String

  /// - Throws: `.io` if there is no such version, or it cannot be read.
  func bundle(_ model: ModelID, _ version: ModelVersion) throws(BundleError) -> BundleFile
}

/// Finds the kind of store that a text names.
enum PublishStores {
  /// - Throws: `TrainingError` of kind `output` for `s3://…` that names no bucket.
  static func open(_ name: String) throws(TrainingError) -> any PublishStore {
    guard ObjectStoreLocation.isLocation(name) else { return PublishDirectory(name: name) }
    do throws(BundleError) {
      let bucket = try BundleBucket(opening: name, environment: ProcessInfo.processInfo.environment)
      return PublishBucket(name: bucket.bucket.location.name, bucket: bucket)
    } catch {
      throw TrainingError(error)
    }
  }
}

/// A store in a directory.
struct PublishDirectory: PublishStore {
  let name: String

  func check(_ model: ModelID, version: ModelVersion?) throws(TrainingError) {
    try OutputPath.checkDirectory("\(name)/\(model)", expected: "\(name): expected a store that can be written")
    if let version, FileManager.default.fileExists(atPath: place(of: model, version)) {
      throw TrainingError(Publisher.existing(place(of: model, version)))
    }
  }

  func nextVersion(of model: ModelID) throws(BundleError) -> ModelVersion {
    try Publisher.nextVersion(of: model, store: name)
  }

  func publish(_ bytes: [UInt8], _ model: ModelID, _ version: ModelVersion) throws(BundleError) -> String {
    do throws(SystemError) {
      // The first model to be published finds no store yet.
      try Directory.createAll(name)
    } catch {
      throw BundleError(.io, "\(name): expected a store that can be written, found: \(error)")
    }
    return try Publisher.publish(bytes, model: model, version: version, store: name)
  }

  func rollout(of model: ModelID) throws(BundleError) -> String? {
    let path = "\(name)/\(model)/\(BundleBucket.rolloutName)"
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(path, bytesMax: Limits.rolloutFileBytesMax)
    } catch {
      if case .missing = error { return nil }
      throw BundleError(.io, "\(path): expected the orders for the model, found: \(error)")
    }
    guard let text else { throw BundleError(.malformed, "\(path): expected UTF-8 text, found other bytes") }
    return text
  }

  func place(of model: ModelID, _ version: ModelVersion) -> String { "\(name)/\(model)/\(version).ntb" }

  func bundle(_ model: ModelID, _ version: ModelVersion) throws(BundleError) -> BundleFile {
    try BundleFile.open(path: place(of: model, version))
  }
}

/// A store in a bucket of an object store.
struct PublishBucket: PublishStore {
  let name: String
  let bucket: BundleBucket

  func check(_ model: ModelID, version: ModelVersion?) throws(TrainingError) {
    do throws(ObjectStoreError) {
      try bucket.bucket.checkWritable()
      if let version, try bucket.bucket.head(BundleBucket.path(of: model, version)) != nil {
        throw ObjectStoreError(.conditionFailed, Publisher.existing(place(of: model, version)).message)
      }
    } catch {
      throw .output("\(name): expected a store that can be written, found: \(error)")
    }
  }

  func nextVersion(of model: ModelID) throws(BundleError) -> ModelVersion { try bucket.nextVersion(of: model) }

  func publish(_ bytes: [UInt8], _ model: ModelID, _ version: ModelVersion) throws(BundleError) -> String {
    try bucket.publish(bytes, model: model, version: version)
  }

  func rollout(of model: ModelID) throws(BundleError) -> String? { try bucket.rollout(of: model) }

  func place(of model: ModelID, _ version: ModelVersion) -> String { bucket.place(of: model, version) }

  func bundle(_ model: ModelID, _ version: ModelVersion) throws(BundleError) -> BundleFile {
    guard let file = try bucket.read(model, version) else {
      throw BundleError(.io, "\(place(of: model, version)): expected the version that serves, found none")
    }
    return file
  }
}
