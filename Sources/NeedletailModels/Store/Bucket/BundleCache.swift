internal import Glibc
package import NeedletailBundle
package import NeedletailCore
internal import NeedletailCrypto
package import NeedletailSystem
internal import Synchronization

/// Copies of a remote store's bundles and rollout files in a directory of this machine, so that a server starts and
/// goes back to an older version while the store is out of reach.
///
/// `CACHE/<store>/<model>/<version>.<sha256>.<tag>.ntb`: a file's name says which bytes it must have and which token the
/// store gave them, so that there is no index that could disagree with the files. Files appear whole or not at all, and
/// are compared with their hash whenever they are read. Several servers may share a directory. Calls block.
package final class BundleCache: Sendable {
  /// A bundle that the cache holds.
  package struct Entry: Equatable, Sendable {
    package let key: VersionKey
    /// Token of the store for these bytes.
    package let tag: String
    package let bytes: UInt64
    let digest: String
    let path: String
  }

  /// How a look into the cache ended. The raw value is the label of `needletail_store_cache_reads_total`.
  package enum Outcome: String, Sendable, CaseIterable {
    case hit, miss
    /// There was a file whose bytes were not those that its name says; it is removed.
    case damaged
  }

  private let directory: String
  private let bytesMax: UInt64
  private let record: @Sendable (Outcome) -> Void
  /// One thread at a time makes room.
  private let lock = Mutex(())

  private static let temporaryPrefix = ".download-"

  /// - Parameters:
  ///   - path: made where it is missing.
  ///   - store: name of the store, which keeps its copies apart from those of others.
  ///   - bytesMax: bytes that all its bundles may take.
  ///   - record: gets told how each look into the cache ended.
  /// - Throws: `.io` if the directory cannot be made or written.
  package init(
    _ path: String, store: String, bytesMax: UInt64, record: @escaping @Sendable (Outcome) -> Void = { _ in }
  ) throws(BundleError) {
    directory = path + "/" + Hex.text(SHA256.hash(Array(store.utf8)).prefix(8))
    self.bytesMax = bytesMax
    self.record = record
    do throws(SystemError) {
      try Directory.create(path, mode: 0o700)
      try Directory.create(directory, mode: 0o700)
    } catch {
      throw BundleError(error)
    }
    guard case .directory = FileFingerprint.of(path: directory), access(directory, R_OK | W_OK | X_OK) == 0 else {
      throw BundleError(.io, "\(directory): expected a directory to write to, found something else")
    }
  }

  // MARK: reading

  /// All bundles, by model and version.
  package func entries() -> [Entry] {
    var entries: [Entry] = []
    for model in models() {
      let folder = "\(directory)/\(model)"
      for name in Self.names(in: folder) {
        if let entry = Self.entry(name, of: model, in: folder) { entries.append(entry) }
      }
    }
    return entries.sorted { $0.key == $1.key ? $0.tag < $1.tag : $0.key < $1.key }
  }

  /// Bytes of all bundles.
  package var bytes: UInt64 { entries().reduce(0) { $0 + $1.bytes } }

  /// The bundle of a version with this token, if its bytes are still what they were.
  package func open(_ key: VersionKey, tag: String, limits: BundleLimits) -> BundleFile? {
    let folder = "\(directory)/\(key.model)"
    let entry = Self.names(in: folder).lazy.compactMap { Self.entry($0, of: key.model, in: folder) }
      .first { $0.key == key && $0.tag == tag }
    guard let entry else {
      record(.miss)
      return nil
    }
    guard let file = try? BundleFile.open(path: entry.path, limits: limits), Hex.text(file.sha256) == entry.digest
    else {
      unlink(entry.path)
      record(.damaged)
      return nil
    }
    // The time of the last use decides what goes first.
    _ = utimensat(AT_FDCWD, entry.path, nil, 0)
    record(.hit)
    return file
  }

  // MARK: writing

  /// Fetches a bundle and keeps it.
  ///
  /// - Parameters:
  ///   - bytes: size of what is fetched; a bundle larger than the whole cache is handed out and not kept.
  ///   - fetch: writes the bundle into an open file, and returns the hash that its publisher noted, if any.
  /// - Throws: the error of `fetch`, or `.io`.
  package func add(
    _ key: VersionKey, tag: String, bytes: UInt64, limits: BundleLimits,
    fetch: (borrowing FileDescriptor) throws(BundleError) -> String?
  ) throws(BundleError) -> BundleFile {
    let folder = "\(directory)/\(key.model)"
    let temporary = "\(folder)/\(Self.temporaryPrefix)\(String(UInt64.random(in: .min ... .max), radix: 36))"
    makeRoom(for: bytes)
    do throws(SystemError) { try Directory.create(folder, mode: 0o700) } catch { throw BundleError(error) }
    defer { unlink(temporary) }
    let noted = try Self.create(temporary, fetch)
    let file = try BundleFile.open(path: temporary, limits: limits)
    let digest = Hex.text(file.sha256)
    guard noted == nil || noted == digest else {
      // Transient: the bytes changed on their way here.
      throw BundleError(
        .io, "\(key): expected bytes with the publisher's hash \(noted?.prefix(12) ?? ""), found \(digest.prefix(12))")
    }
    guard bytes <= bytesMax else { return file }
    let name = "\(key.version).\(digest).\(Hex.text(tag.utf8))\(DirectoryScanner.fileSuffix)"
    guard rename(temporary, "\(folder)/\(name)") == 0 else { throw BundleError(SystemError("rename \(temporary)")) }
    do throws(SystemError) {
      try Directory.synchronise(folder)
      try Directory.synchronise(directory)
    } catch {
      throw BundleError(error)
    }
    return file
  }

  private static func create(
    _ path: String, _ fetch: (borrowing FileDescriptor) throws(BundleError) -> String?
  ) throws(BundleError) -> String? {
    let file: FileDescriptor
    do throws(SystemError) {
      file = try FileDescriptor(opening: path, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
    } catch {
      throw BundleError(error)
    }
    let noted = try fetch(file)
    do throws(SystemError) { try file.synchronise() } catch { throw BundleError(error) }
    return noted
  }

  /// Removes what the store does not hold any more: a version that was withdrawn must not come back when the server
  /// starts without the store. Also removes what killed downloads left.
  ///
  /// - Parameters:
  ///   - bundles: everything that the store holds.
  ///   - rollouts: models with a rollout file.
  package func prune(keeping bundles: [StoredBundle], rollouts: Set<ModelID>) {
    lock.withLock { _ in
      var tags: [VersionKey: String] = [:]
      for bundle in bundles { tags[bundle.key] = bundle.fingerprint.token }
      for entry in entries() where tags[entry.key] != entry.tag { unlink(entry.path) }
      for model in models() {
        let folder = "\(directory)/\(model)"
        if !rollouts.contains(model) { unlink("\(folder)/\(RolloutFile.name)") }
        for name in Self.names(in: folder) where name.hasPrefix(Self.temporaryPrefix) {
          if Self.age("\(folder)/\(name)") >= Limits.abandonedFileSeconds { unlink("\(folder)/\(name)") }
        }
        // Fails where something is left in it.
        rmdir(folder)
      }
    }
  }

  /// Removes the bundles that were used longest ago until so many bytes have room.
  private func makeRoom(for bytes: UInt64) {
    lock.withLock { _ in
      guard bytes <= bytesMax else { return }
      var entries = entries().map { (entry: $0, age: Self.age($0.path)) }.sorted { $0.age > $1.age }[...]
      var total = entries.reduce(0) { $0 + $1.entry.bytes }
      while total > bytesMax - bytes, let oldest = entries.popFirst() {
        unlink(oldest.entry.path)
        total -= oldest.entry.bytes
      }
    }
  }

  // MARK: rollout files

  /// Rollout files by model, as text.
  package func rollouts() -> [ModelID: String] {
    var texts: [ModelID: String] = [:]
    for model in models() {
      let path = "\(directory)/\(model)/\(RolloutFile.name)"
      // One that cannot be read is absent: the store has it.
      if let text = try? WholeFile.text(path, bytesMax: Limits.rolloutFileBytesMax) { texts[model] = text }
    }
    return texts
  }

  /// - Throws: `.io`.
  package func keep(rollout text: String, of model: ModelID) throws(BundleError) {
    do throws(SystemError) {
      try Directory.create("\(directory)/\(model)", mode: 0o700)
      try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(model)/\(RolloutFile.name)", existing: .replaced)
    } catch {
      throw BundleError(error)
    }
  }

  // MARK: names

  private func models() -> [ModelID] { Self.names(in: directory).compactMap { try? ModelID($0) } }

  private static func names(in path: String) -> [String] {
    var names: [String] = []
    // A folder that cannot be listed holds nothing that could be used.
    try? Directory.forEachName(in: path) { name in
      names.append(name)
      return names.count < Limits.storeEntriesMax
    }
    return names.sorted()
  }

  /// Reads a name that ``add(_:tag:bytes:limits:fetch:)`` made; nil for others.
  private static func entry(_ name: String, of model: ModelID, in folder: String) -> Entry? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4, parts[3] == "ntb", let version = ModelVersion(decimal: parts[0]),
      parts[1].utf8.count == 2 * SHA256.digestBytes, let tag = text(ofHex: parts[2]),
      case .file(let fingerprint) = FileFingerprint.of(path: "\(folder)/\(name)")
    else { return nil }
    return Entry(
      key: VersionKey(model, version), tag: tag, bytes: fingerprint.bytes, digest: String(parts[1]),
      path: "\(folder)/\(name)")
  }

  private static func text(ofHex digits: Substring) -> String? {
    let values = digits.compactMap { $0.hexDigitValue }
    guard !values.isEmpty, values.count % 2 == 0, values.count == digits.count else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: values.count, by: 2) {
      bytes.append(UInt8(values[index]) << 4 | UInt8(values[index + 1]))
    }
    return String(validating: bytes, as: UTF8.self)
  }

  /// Seconds since a file was written or used; 0 for one that is gone.
  private static func age(_ path: String) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { return 0 }
    return time(nil) - status.st_mtim.tv_sec
  }
}
