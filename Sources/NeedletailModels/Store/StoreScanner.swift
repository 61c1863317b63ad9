package import NeedletailBundle
internal import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Reads `STORE/<model>/<version>.ntb` into a snapshot. Never throws: what cannot be read is a problem
/// of the snapshot.
///
/// Names that start with a dot are passed over without a word: Kubernetes' `..data`, rsync's and our own
/// temporary files. Symbolic links are followed. Anything else in the wrong place is a problem.
package struct StoreScanner: Sendable {
  private let directory: String
  private let limits: BundleLimits
  /// Of the last scan: the header of a file that did not change need not be read again.
  private var known: [String: StoreFile] = [:]

  package static let fileSuffix = ".ntb"
  /// Files beside the versions that belong there.
  private static let companions: Set<String> = [RolloutFile.name]
  /// What a store on a volume of its own may hold at its top.
  private static let volumeEntries: Set<String> = ["lost+found"]

  package init(directory: String, limits: BundleLimits = BundleLimits()) {
    self.directory = directory
    self.limits = limits
  }

  package mutating func scan() -> StoreSnapshot {
    var snapshot = StoreSnapshot()
    var problems = ProblemList()
    snapshot.directories = [directory]
    switch DirectoryListing.read(directory) {
    case .failure(let failure):
      snapshot.isReadable = false
      problems.add("", "store directory: \(failure.message)")
    case .success(let listing):
      if listing.isCut { problems.add("", "more than \(Limits.storeEntriesMax) entries, the rest is ignored") }
      scanModels(listing.names, into: &snapshot, &problems)
    }
    snapshot.problems = problems.finish()
    known = Dictionary(uniqueKeysWithValues: snapshot.files.map { ($0.path, $0) })
    return snapshot
  }

  private func scanModels(_ names: [String], into snapshot: inout StoreSnapshot, _ problems: inout ProblemList) {
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
        snapshot.directories.append(path)
        scanVersions(of: model, path: path, into: &snapshot, &problems)
      case .file: problems.add(name, "expected a directory named after a model, found a file")
      case .other: problems.add(name, "expected a directory named after a model, found a special file")
      case .unreachable(let code):
        // A directory behind a link that just swings, or one not ours to see: unknown, not gone.
        if let model = try? ModelID(name) { snapshot.unreadableModels.insert(model) }
        problems.add(name, SystemFailure(code).message)
      }
    }
  }

  private func scanVersions(
    of model: ModelID, path: String, into snapshot: inout StoreSnapshot, _ problems: inout ProblemList
  ) {
    let listing: DirectoryListing
    switch DirectoryListing.read(path) {
    case .failure(let failure):
      snapshot.unreadableModels.insert(model)
      problems.add(model.name, "model directory: \(failure.message)")
      return
    case .success(let read): listing = read
    }
    if listing.isCut { problems.add(model.name, "more than \(Limits.storeEntriesMax) entries, the rest is ignored") }
    var found: [StoreFile] = []
    if listing.names.contains(RolloutFile.name) {
      let finding = RolloutFileReader.read(path + "/" + RolloutFile.name)
      snapshot.rollouts[model] = finding
      if case .invalid(let problem)? = finding { problems.add(model.name + "/" + RolloutFile.name, problem) }
    }
    for name in listing.names where !Self.companions.contains(name) {
      if let file = file(name, of: model, in: path, &problems) { found.append(file) }
    }
    found.sort { $0.key < $1.key }
    if found.count > Limits.storeVersionsMax {
      problems.add(model.name, "more than \(Limits.storeVersionsMax) versions, the oldest are ignored")
      found.removeFirst(found.count - Limits.storeVersionsMax)
    }
    snapshot.files += found
  }

  private func file(
    _ name: String, of model: ModelID, in folder: String, _ problems: inout ProblemList
  ) -> StoreFile? {
    let place = model.name + "/" + name
    let path = folder + "/" + name
    switch FileFingerprint.of(path: path) {
    case .directory:
      problems.add(place, "expected a bundle, found a directory")
    case .other:
      problems.add(place, "expected a bundle, found a special file")
    case .unreachable(let code):
      // Gone between listing and looking: nothing to report.
      if code != ENOENT || isLink(path) { problems.add(place, SystemFailure(code).message) }
    case .file(let fingerprint):
      guard name.hasSuffix(Self.fileSuffix), let version = ModelVersion(decimal: name.dropLast(Self.fileSuffix.count))
      else {
        problems.add(place, "expected <version>.ntb with a decimal version from 1, found \(name.quotedForMessage)")
        return nil
      }
      return StoreFile(
        key: VersionKey(model, version), path: path, fingerprint: fingerprint,
        completeness: completeness(path, fingerprint))
    }
    return nil
  }

  private func completeness(_ path: String, _ fingerprint: FileFingerprint) -> BundleFile.Completeness {
    if let last = known[path], last.fingerprint == fingerprint {
      switch last.completeness {
      // Only a verdict on bytes lasts; that a file could not be read, or was short when its timestamp
      // was too coarse to tell, does not.
      case .complete: return .complete
      case .incomplete, .notABundle: break
      }
    }
    return BundleFile.isComplete(path: path, limits: limits)
  }

  private func isLink(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }
}

/// Problems up to a bound, and how many more there were.
private struct ProblemList {
  private var problems: [StoreProblem] = []
  private var left = 0

  mutating func add(_ path: String, _ reason: String) {
    if problems.count < Limits.storeProblemsMax {
      problems.append(StoreProblem(path: path, reason: reason))
    } else {
      left += 1
    }
  }

  func finish() -> [StoreProblem] {
    guard left > 0 else { return problems }
    return problems + [StoreProblem(path: "", reason: "\(left) more files are misplaced or misnamed")]
  }
}
