internal import Glibc
package import NeedletailBundle
internal import NeedletailCore
internal import NeedletailSystem
internal import NeedletailYAML

/// Lists `STORE/<model>/<version>.ntb` into a snapshot. Never throws: what cannot be read is a problem of the snapshot.
///
/// Names that start with a dot are ignored: Kubernetes' `..data`, rsync's and our own temporary files. Symbolic links
/// are followed. Anything else in the wrong place is a problem.
package struct DirectoryScanner: Sendable {
  private let directory: String
  /// Bundles of the last scan by place: the header of a file that did not change need not be read again.
  private var known: [String: StoredBundle] = [:]
  /// Directories that the last scan listed, the store's first.
  package private(set) var directories: [String] = []

  package static let fileSuffix = ".ntb"
  /// Files beside the versions that belong there.
  private static let companions: Set<String> = [RolloutFile.name]
  /// Names that a volume of its own may have at its top.
  private static let volumeEntries: Set<String> = ["lost+found"]
  private static let illegible = "expected a name in UTF-8, found other bytes"

  package init(directory: String) { self.directory = directory }

  /// - Parameter limits: sizes beyond which a file is no bundle.
  package mutating func scan(limits: BundleLimits = BundleLimits()) -> StoreSnapshot {
    var snapshot = StoreSnapshot()
    var problems = ProblemList()
    directories = [directory]
    switch DirectoryListing.read(directory) {
    case .failure(let failure):
      snapshot.isReadable = false
      problems.add("", "store directory: \(Self.reason(failure.code))")
    case .success(let listing):
      if listing.isCut { problems.add("", "more than \(Limits.storeEntriesMax) entries, the rest is ignored") }
      for name in listing.illegible { problems.add(name, Self.illegible) }
      scanModels(listing.names, limits, into: &snapshot, &problems)
    }
    snapshot.problems = problems.finish()
    known = Dictionary(uniqueKeysWithValues: snapshot.bundles.map { ($0.place, $0) })
    return snapshot
  }

  private mutating func scanModels(
    _ names: [String], _ limits: BundleLimits, into snapshot: inout StoreSnapshot, _ problems: inout ProblemList
  ) {
    var models = 0
    for name in names where !Self.volumeEntries.contains(name) {
      let path = directory + "/" + name
      switch FileFingerprint.of(path: path) {
      case .directory:
        let model: ModelID
        do throws(ServingError) { model = try ModelID(name) } catch {
          problems.add(name, error.message)
          continue
        }
        models += 1
        guard models <= Limits.storeModelsMax else {
          problems.add(name, "more than \(Limits.storeModelsMax) models, the rest is ignored")
          return
        }
        directories.append(path)
        scanVersions(of: model, path: path, limits, into: &snapshot, &problems)
      case .file: problems.add(name, "expected a directory named after a model, found a file")
      case .other: problems.add(name, "expected a directory named after a model, found a special file")
      case .unreachable(let code):
        // A directory behind a link that is being replaced, or one not ours to see: unknown, not gone.
        if let model = try? ModelID(name) { snapshot.unreadableModels.insert(model) }
        problems.add(name, Self.reason(code))
      }
    }
  }

  private func scanVersions(
    of model: ModelID, path: String, _ limits: BundleLimits, into snapshot: inout StoreSnapshot,
    _ problems: inout ProblemList
  ) {
    let listing: DirectoryListing
    switch DirectoryListing.read(path) {
    case .failure(let failure):
      snapshot.unreadableModels.insert(model)
      problems.add(model.name, "model directory: \(Self.reason(failure.code))")
      return
    case .success(let read): listing = read
    }
    if listing.isCut { problems.add(model.name, "more than \(Limits.storeEntriesMax) entries, the rest is ignored") }
    for name in listing.illegible { problems.add(model.name + "/" + name, Self.illegible) }
    var found: [StoredBundle] = []
    if listing.names.contains(RolloutFile.name) {
      let finding = Self.rollout(in: path)
      snapshot.rollouts[model] = finding
      if finding != nil { snapshot.rolloutOwners[model] = owner(of: path + "/" + RolloutFile.name) }
      if case .invalid(let problem)? = finding { problems.add(model.name + "/" + RolloutFile.name, problem) }
    }
    for name in listing.names where !Self.companions.contains(name) {
      if let bundle = bundle(name, of: model, in: path, limits, &problems) { found.append(bundle) }
    }
    found.sort { $0.key < $1.key }
    if found.count > Limits.storeVersionsMax {
      problems.add(model.name, "more than \(Limits.storeVersionsMax) versions, the oldest are ignored")
      found.removeFirst(found.count - Limits.storeVersionsMax)
    }
    snapshot.bundles += found
  }

  private func bundle(
    _ name: String, of model: ModelID, in folder: String, _ limits: BundleLimits, _ problems: inout ProblemList
  ) -> StoredBundle? {
    let place = model.name + "/" + name
    let path = folder + "/" + name
    switch FileFingerprint.of(path: path) {
    case .directory:
      problems.add(place, "expected a bundle, found a directory")
    case .other:
      problems.add(place, "expected a bundle, found a special file")
    case .unreachable(let code):
      // Gone between listing and looking: nothing to report.
      if code != ENOENT || isLink(path) { problems.add(place, Self.reason(code)) }
    case .file(let fingerprint):
      guard name.hasSuffix(Self.fileSuffix), let version = ModelVersion(decimal: name.dropLast(Self.fileSuffix.count))
      else {
        problems.add(place, "expected <version>.ntb with a decimal version from 1, found \(name.quotedForMessage)")
        return nil
      }
      let token = fingerprint.opaque
      // Only `complete` lasts: a file that could not be read, or that was short when its timestamp was too coarse to
      // show it, is looked at again.
      let isKnownComplete = known[path].map { $0.fingerprint == token && $0.completeness == .complete } ?? false
      return StoredBundle(
        key: VersionKey(model, version), place: path, fingerprint: token, bytes: fingerprint.bytes,
        completeness: isKnownComplete ? .complete : BundleFile.isComplete(path: path, limits: limits))
    }
    return nil
  }

  /// Reads the rollout file of a model's directory, with every scan: it is small, and a file system's timestamps may be
  /// coarse.
  ///
  /// - Returns: nil if there is none, or none any more.
  package static func rollout(in folder: String) -> RolloutFinding? {
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(folder + "/" + RolloutFile.name, bytesMax: Limits.rolloutFileBytesMax)
    } catch {
      switch error {
      case .missing: return nil
      case .notARegularFile: return .invalid("expected a file, found something else")
      case .tooLong(let bytesMax): return .invalid("expected at most \(bytesMax) bytes, found more")
      case .system(let error): return .invalid(reason(error.code))
      }
    }
    guard let text else {
      return .invalid("expected UTF-8 text, found other bytes")
    }
    do throws(YAMLError) {
      return .file(try RolloutFile(parsing: text))
    } catch {
      return .invalid(error.description)
    }
  }

  /// The reason of an `errno` as people who look after a store say it.
  private static func reason(_ code: Int32) -> String {
    switch code {
    case ENOENT: "not found"
    case ELOOP: "symbolic links in a circle"
    default: SystemError(code: code, "").reason
    }
  }

  /// User id of whoever wrote a file: its owner, as the kernel says, behind symbolic links.
  private func owner(of path: String) -> UInt32? {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_uid : nil
  }

  private func isLink(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }
}

/// The visible names of one directory, sorted.
private struct DirectoryListing {
  let names: [String]
  /// Names that are not UTF-8, with their bytes as `\xHH`.
  let illegible: [String]
  /// True if there were more than `Limits.storeEntriesMax`.
  let isCut: Bool

  static func read(_ path: String) -> Result<DirectoryListing, SystemError> {
    var names: [String] = []
    var illegible: [String] = []
    var isCut = false
    do throws(SystemError) {
      try Directory.forEachName(
        in: path,
        illegible: { name in
          if !name.hasPrefix("."), illegible.count < Limits.storeProblemsMax { illegible.append(name) }
        }
      ) { name in
        guard !name.hasPrefix(".") else { return true }
        isCut = names.count >= Limits.storeEntriesMax
        if !isCut { names.append(name) }
        return !isCut
      }
    } catch {
      return .failure(error)
    }
    return .success(DirectoryListing(names: names.sorted(), illegible: illegible.sorted(), isCut: isCut))
  }
}

extension FileFingerprint {
  /// The same figures as an opaque token of the store.
  var opaque: StoreFingerprint {
    StoreFingerprint("\(device).\(inode).\(bytes).\(modifiedNanoseconds).\(changedNanoseconds)")
  }

  /// Reads a token that ``opaque`` made; nil for others.
  init?(_ fingerprint: StoreFingerprint) {
    let parts = fingerprint.token.split(separator: ".")
    guard parts.count == 5, let device = UInt64(parts[0]), let inode = UInt64(parts[1]), let bytes = UInt64(parts[2]),
      let modified = Int64(parts[3]), let changed = Int64(parts[4])
    else { return nil }
    self.init(
      device: device, inode: inode, bytes: bytes, modifiedNanoseconds: modified, changedNanoseconds: changed)
  }
}
