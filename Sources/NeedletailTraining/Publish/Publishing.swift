internal import Foundation
internal import Glibc
public import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// Where a bundle goes: a store, a version, and the keys that sign it. All that can be wrong with them shows when it is
/// made, before anything that takes long.
public struct PublishTarget {
  public let model: ModelID
  /// The store as it was named; nil: the bundle is not published.
  public let store: String?
  private let place: (any PublishStore)?
  /// Empty: the bundle stays unsigned.
  public let keys: [SigningKey]
  /// Version that was asked for; nil: the next free one.
  private let asked: ModelVersion?

  /// - Parameters:
  ///   - store: a directory, or `s3://BUCKET/PREFIX`.
  ///   - key: a key file; nil leaves bundles unsigned.
  ///   - version: nil: the next free one of the store, or 1 without a store.
  /// - Throws: `TrainingError` of kind `output` for a key that cannot be read, a store that cannot be written, or a
  ///   version that is there already.
  public init(model: ModelID, store: String?, key: String?, version: UInt64?) throws(TrainingError) {
    self.model = model
    self.store = store
    do throws(BundleError) {
      keys = try key.map { (path) throws(BundleError) in [try SigningKey(file: path)] } ?? []
    } catch {
      throw TrainingError(error)
    }
    asked = try version.map { (number) throws(TrainingError) in
      guard let version = ModelVersion(number) else { throw .output("version: expected a number from 1, found 0") }
      return version
    }
    place = try store.map { (name) throws(TrainingError) in try PublishStores.open(name) }
    guard let place else { return }
    try place.check(model, version: asked)
    // A store whose versions cannot be counted is found out here, too.
    _ = try self.version()
  }

  /// Version that a bundle would get now.
  public func version() throws(TrainingError) -> ModelVersion {
    if let asked { return asked }
    guard let place else { return .first }
    do throws(BundleError) {
      return try place.nextVersion(of: model)
    } catch {
      throw TrainingError(error)
    }
  }

  /// Puts a bundle into the store, if there is one. Where others have taken its version meanwhile, and none was asked
  /// for, it is made again with the next one.
  ///
  /// - Parameters:
  ///   - bytes: the bundle of that version.
  ///   - remake: the bundle of another version.
  /// - Returns: its version and its path, nil without a store.
  /// - Throws: `TrainingError` of kind `output`, or what `remake` throws.
  public func publish(
    _ bytes: [UInt8], version: ModelVersion, remake: (ModelVersion) throws(TrainingError) -> [UInt8]
  ) throws(TrainingError) -> (version: ModelVersion, path: String?) {
    guard let place else { return (version, nil) }
    var (bytes, version) = (bytes, version)
    while true {
      do throws(BundleError) {
        return (version, try place.publish(bytes, model, version))
      } catch {
        guard error.reason == .exists, asked == nil else { throw TrainingError(error) }
      }
      version = try self.version()
      bytes = try remake(version)
    }
  }
}

/// Places that something will be written to, looked at beforehand.
public enum OutputPath {
  /// - Throws: `TrainingError` of kind `output` where no file can be written there.
  public static func checkFile(_ path: String) throws(TrainingError) {
    var status = stat()
    if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      throw .output("\(path): expected a file to write, found a directory")
    }
    let directory = Directory.split(path).directory
    guard access(directory, F_OK) == 0 else {
      throw .output("\(path): expected a directory to write it into, found: \(SystemError("\(directory)"))")
    }
    try checkDirectory(directory, expected: "\(path): expected a directory that can be written")
  }

  /// Checks a directory that may not be there yet.
  ///
  /// - Parameter expected: beginning of the sentence that tells what is wrong.
  static func checkDirectory(_ path: String, expected: String) throws(TrainingError) {
    var path = path
    while access(path, F_OK) != 0 {
      let code = errno
      guard code == ENOENT, path != "/", path != "." else {
        throw .output("\(expected), found: \(SystemError(code: code, path))")
      }
      // The nearest one above it is where it will be made.
      path = Directory.split(path).directory
    }
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      throw .output("\(expected), found \(path), which is no directory")
    }
    guard access(path, W_OK | X_OK) == 0 else {
      let error = SystemError(path)
      let isReadOnly = error.code == EROFS || error.code == EACCES
      throw .output("\(expected), found \(isReadOnly ? "it read-only: " : "")\(error)")
    }
  }
}

extension Directory {
  /// Makes a directory and those above it.
  static func createAll(_ path: String) throws(SystemError) {
    var made = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      made += part
      if access(made, F_OK) != 0 { try create(made) }
      made += "/"
    }
  }
}

/// Steps from a bundle's bytes to a version in a store.
public enum Publishing {
  /// Takes a bundle that was trained before, gives it a version of the store, signs and publishes it.
  ///
  /// - Parameters:
  ///   - condition: what it has to be better by than the version that serves; nil: nothing.
  ///   - data: rows that both are judged on.
  ///   - replay: how much it may differ from that version on captured calls; nil: as it likes.
  ///   - notice: hears of parts of the capture that cannot be read.
  /// - Throws: `TrainingError`, of kind `refused` where it is not better, or differs more.
  public static func republish(
    path: String, store: String, key: String?, version number: UInt64?,
    condition: PublishCondition? = nil, data: HeldOutRows? = nil, replay: ReplayCondition? = nil,
    notice: @escaping (String) -> Void = { _ in }
  ) throws(TrainingError) -> Publication {
    let (manifest, contents) = try BundleContents.read(path)
    let target = try PublishTarget(model: manifest.model, store: store, key: key, version: number)
    func encode(_ version: ModelVersion) throws(TrainingError) -> [UInt8] {
      do throws(BundleError) {
        return try BundleWriter(
          model: manifest.model, version: version, contents: contents,
          createdMilliseconds: manifest.createdMilliseconds, notAfterMilliseconds: manifest.notAfterMilliseconds
        ).encode(signing: target.keys)
      } catch {
        throw TrainingError(error)
      }
    }
    var comparison: ServingComparison?
    if let condition, let data {
      try condition.check(contents.definition.graph.task, classes: contents.definition.labels.count)
      let incumbent = try Incumbent(of: manifest.model, store: store, condition)
      comparison = try incumbent?.compare(with: contents.definition, data)
      try comparison?.check()
    }
    let verdict = try replay.map { (condition) throws(TrainingError) in
      try ReplayGate(condition, of: manifest.model, store: store).judge(contents.definition, notice: notice)
    }
    try verdict?.check()
    let version = try target.version()
    let published = try target.publish(encode(version), version: version, remake: encode)
    return Publication(
      model: manifest.model, version: published.version, path: published.path ?? "", comparison: comparison,
      replay: verdict)
  }

  /// A version that was put into a store.
  public struct Publication {
    public let model: ModelID
    public let version: ModelVersion
    public let path: String
    /// How much better it is than the version that served; nil where that was not asked, or nothing served.
    public let comparison: ServingComparison?
    /// How captured calls were answered; nil where that was not asked.
    public let replay: ReplayVerdict?
  }
}

extension BundleContents {
  /// - Throws: `TrainingError` of kind `output` for a file that is no bundle.
  static func read(_ path: String) throws(TrainingError) -> (BundleManifest, BundleContents) {
    try read(path) { () throws(BundleError) in try BundleFile.open(path: path) }
  }

  /// - Parameters:
  ///   - place: where the bundle lies, in words for people.
  ///   - open: reads its bytes.
  static func read(
    _ place: String, _ open: () throws(BundleError) -> BundleFile
  ) throws(TrainingError) -> (BundleManifest, BundleContents) {
    do throws(BundleError) {
      let bundle = try VerifiedBundle(
        open(), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: ExperimentStore.now)
      return (bundle.manifest, try bundle.decode())
    } catch {
      throw .output("\(place): \(error.message)")
    }
  }

  /// The bundle's file, read back and compared before it is handed out.
  ///
  /// - Parameters:
  ///   - expiresDays: days from now after which servers refuse it; nil: never.
  ///   - keys: sign it; without any it stays unsigned.
  /// - Throws: `TrainingError` of kind `output`.
  func encode(
    model: ModelID, version: ModelVersion, expiresDays: Int?, signing keys: [SigningKey]
  ) throws(TrainingError) -> [UInt8] {
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    let writer = BundleWriter(
      model: model, version: version, contents: self, createdMilliseconds: now,
      notAfterMilliseconds: expiresDays.map { now + UInt64($0) * 86_400_000 } ?? 0)
    do throws(BundleError) {
      let bytes = try writer.encode(signing: keys)
      let bundle = try VerifiedBundle(
        BundleFile(bytes: bytes), trust: .allowingUnsigned, expecting: (model, version), nowMilliseconds: now)
      guard try bundle.decode() == self else {
        throw BundleError(.malformed, "bundle: expected what was written, found something else on reading it back")
      }
      return bytes
    } catch {
      throw TrainingError(error)
    }
  }
}

extension ModelVersion {
  /// Version 1, the first one of a model.
  static var first: ModelVersion {
    guard let version = ModelVersion(1) else { preconditionFailure("1 is a version") }
    return version
  }
}
