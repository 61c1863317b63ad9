internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSystem
internal import FoundationEssentials
internal import Glibc

/// A directory for what the server itself must remember across restarts (`state_directory`; systemd's `StateDirectory=`): a
/// few small JSON files, apart from the store, which may be read-only.
///
/// A file is written whole or not at all: temporary file, fsync, rename, fsync of the directory. Without a directory
/// nothing is written and nothing is found: state then lasts as long as the process. Calls block: they are for the control
/// plane. Each file is read and written by one owner, and the directory belongs to one process: a second server would
/// overwrite what the first one remembers.
public struct StateDirectory: Sendable {
  /// Path of the directory; nil if state is kept in memory only.
  public let path: String?
  /// Held as long as some copy of this value lives.
  private let lock: DirectoryLock?

  /// State that ends with the process.
  public static let inMemory = StateDirectory()

  private init() {
    path = nil
    lock = nil
  }

  /// Makes the directory if there is none, and checks that files can be made in it: a mistake shows at the start and not
  /// with the first thing to remember. Removes what killed writers left.
  ///
  /// - Throws: `.io`, or `.taken` if another process uses the directory.
  public init(creating path: String) throws(StateError) {
    self.path = path
    do throws(SystemError) {
      try Directory.create(path, mode: 0o700)
      // Also where it existed: a crash may have come between the two calls, and a power failure would take it away.
      try Directory.synchronise(Directory.split(path).directory)
    } catch {
      throw StateError(.io, error.description)
    }
    guard case .directory = FileFingerprint.of(path: path) else {
      throw StateError(.io, "\(path): expected a directory, found something else")
    }
    guard access(path, R_OK | W_OK | X_OK) == 0 else {
      throw StateError(.io, "\(path): expected a directory to write to, found: \(SystemError("").reason)")
    }
    do throws(SystemError) { lock = try DirectoryLock(path) } catch {
      guard error.code == EWOULDBLOCK else { throw StateError(.io, error.description) }
      throw StateError(
        .taken, "\(path): expected a state directory that no other server uses, found one in use; each needs its own")
    }
    if lock?.isHeld == true { AtomicFile.removeTemporaries(in: path) }
  }

  /// Whether what is written outlives the process.
  public var isDurable: Bool { path != nil }

  /// Reads a value that ``write(_:to:)`` wrote.
  ///
  /// A file that cannot be understood is renamed, so that the next ``write(_:to:)`` does not destroy what somebody may
  /// want to look at or repair: see ``copies``.
  ///
  /// - Returns: nil if nothing was written yet.
  /// - Throws: `.io`, `.oversized`, or `.malformed` if the content is not what ``write(_:to:)`` writes; the message
  ///   names the copy. The caller starts without it and raises an alarm.
  public func read<Value: Decodable>(_ type: Value.Type, from name: String) throws(StateError) -> Value? {
    do throws(StateError) {
      return try decode(type, from: name)
    } catch {
      guard error.reason != .io, let copy = setAside(name) else { throw error }
      throw StateError(error.reason, "\(error.message); kept as \(copy)")
    }
  }

  /// Names of files that could not be understood, oldest first.
  public var copies: [String] {
    var names: [String] = []
    guard let path else { return [] }
    // A directory that cannot be listed shows by what is written to it.
    try? Directory.forEachName(in: path) { name in
      if name.contains(Self.copyInfix) { names.append(name) }
      return true
    }
    return names.sorted()
  }

  private static let copyInfix = ".unreadable-"

  /// Renames a file to a name that tells when, and removes the oldest copies beyond ``Limits/stateCopiesMax``.
  /// - Returns: the name; nil if it could not be renamed.
  private func setAside(_ name: String) -> String? {
    guard let path, let file = filePath(name) else { return nil }
    let copy = "\(name)\(Self.copyInfix)\(UnixTime.nowMilliseconds())"
    guard rename(file, "\(path)/\(copy)") == 0 else { return nil }
    for name in copies.filter({ $0.hasPrefix(name + Self.copyInfix) }).dropLast(Limits.stateCopiesMax) {
      unlink("\(path)/\(name)")
    }
    return copy
  }

  private func decode<Value: Decodable>(_ type: Value.Type, from name: String) throws(StateError) -> Value? {
    guard let file = filePath(name), let bytes = try Self.bytes(of: file) else { return nil }
    do {
      return try JSONDecoder().decode(Value.self, from: Data(bytes))
    } catch {
      throw StateError(.malformed, "\(file): expected state as this server writes it, found \(Self.place(of: error))")
    }
  }

  /// Writes a value and returns once it is on the disk; does nothing without a directory.
  ///
  /// - Throws: `.io`, `.oversized`; then the file is as it was.
  public func write<Value: Encodable>(_ value: Value, to name: String) throws(StateError) {
    guard let file = filePath(name) else { return }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    let bytes: [UInt8]
    do {
      bytes = Array(try encoder.encode(value)) + [UInt8(ascii: "\n")]
    } catch {
      throw StateError(.malformed, "\(file): \(Self.place(of: error))")
    }
    guard bytes.count <= Limits.stateFileBytesMax else {
      throw StateError(.oversized, "\(file): expected at most \(Limits.stateFileBytesMax) bytes, found \(bytes.count)")
    }
    do throws(SystemError) {
      try AtomicFile.write(bytes, to: file, existing: .replaced)
    } catch {
      throw StateError(.io, error.description)
    }
  }

  /// - Precondition: `name` is one that this program chose.
  private func filePath(_ name: String) -> String? {
    precondition(!name.isEmpty && !name.contains("/") && !name.hasPrefix("."), "state file \(name)")
    return path.map { "\($0)/\(name)" }
  }

  /// - Returns: nil if there is no such file.
  private static func bytes(of file: String) throws(StateError) -> [UInt8]? {
    do throws(FileReadError) {
      // A link could lead out of the directory.
      return try WholeFile.read(file, bytesMax: Limits.stateFileBytesMax, followingLinks: false)
    } catch {
      switch error {
      case .missing: return nil
      case .notARegularFile: throw StateError(.malformed, "\(file): expected a file, found something else")
      case .tooLong:
        throw StateError(.oversized, "\(file): expected at most \(Limits.stateFileBytesMax) bytes, found more")
      case .system(let error): throw StateError(.io, error.description)
      }
    }
  }

  /// Place at which a decoder stopped, in one line.
  private static func place(of error: any Error) -> String {
    func path(_ context: DecodingError.Context) -> String {
      let keys = context.codingPath.map(\.stringValue).joined(separator: ".")
      return keys.isEmpty ? "" : " at \(keys.quotedForMessage)"
    }
    switch error as? DecodingError {
    case .keyNotFound(let key, let context): return "no \(key.stringValue.quotedForMessage)\(path(context))"
    case .typeMismatch(_, let context), .valueNotFound(_, let context): return "another type\(path(context))"
    case .dataCorrupted(let context): return "other bytes\(path(context))"
    default: return "other bytes"
    }
  }
}

/// Reason why the server's own state could not be read or written: one sentence with the file, what was expected and what
/// was found.
public struct StateError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: String, Sendable {
    /// The system refused to read or write.
    case io
    /// Another process uses the directory.
    case taken
    /// The file is not what this server writes.
    case malformed
    /// The file is longer than any that this server writes.
    case oversized
  }

  public let reason: Reason
  public let message: String

  public init(_ reason: Reason, _ message: String) {
    self.reason = reason
    self.message = message
  }

  public var description: String { message }
}

/// A lock on a directory that ends with the process, however it ends.
private final class DirectoryLock: Sendable {
  private let descriptor: Int32
  /// False where the file system knows no locks.
  let isHeld: Bool

  /// - Throws: `EWOULDBLOCK` if another holds it.
  init(_ path: String) throws(SystemError) {
    descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError("open \(path)") }
    if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
      isHeld = true
    } else {
      let code = errno
      guard code != EWOULDBLOCK else {
        close(descriptor)
        throw SystemError(code: code, "lock \(path)")
      }
      isHeld = false
    }
  }

  deinit { close(descriptor) }
}

/// One file of the state directory that is written again until it is on the disk.
///
/// A full disk must not stop a rollout, and must not lose it either: what could not be written is an alarm and a gauge of
/// the present state, `needletail_state_unwritten`, until it is.
struct StateFile<Value: Codable & Equatable & Sendable>: Sendable {
  private let name: String
  private let state: StateDirectory
  /// The content of the file, in words for people.
  private let content: String
  /// The consequence if the file cannot be read.
  private let lost: String
  private let eventLog: EventLog
  private let errors: Counter
  private let unwritten: Gauge
  /// The content that is on the disk.
  private var written: Value?
  /// The content that is to be there.
  private var wanted: Value?
  private var failures = 0
  /// Why it is not on the disk; empty if it is, or if state is kept in memory only.
  private(set) var problem = ""

  init(
    _ name: String, of state: StateDirectory, content: String, lost: String, metrics: MetricsRegistry,
    eventLog: EventLog
  ) {
    self.name = name
    self.state = state
    self.content = content
    self.lost = lost
    self.eventLog = eventLog
    errors = metrics.counter(
      "needletail_state_errors_total", help: "Times that the server's own state could not be read or written.")
    unwritten = metrics.gauge(
      "needletail_state_unwritten", help: "1 while the server's own state is not on the disk; it is tried again.",
      labels: [("file", name)])
    unwritten.set(0)
  }

  /// The state that the last process left; nil if there is nothing. What cannot be read is an alarm.
  mutating func read() -> Value? {
    do throws(StateError) {
      written = try state.read(Value.self, from: name)
      wanted = written
    } catch {
      errors.add()
      eventLog.emit(.alarm, .error, "\(content) not read, \(lost)", [.init("reason", error.message)])
    }
    return written
  }

  /// Makes a value what is to be on the disk, and tries to put it there.
  mutating func write(_ value: Value) {
    guard value != wanted || !problem.isEmpty else { return }
    wanted = value
    writeAgain()
  }

  /// Tries again if the last try failed, or if there is something new.
  mutating func writeAgain() {
    guard let wanted, wanted != written || !problem.isEmpty else { return }
    do throws(StateError) {
      try state.write(wanted, to: name)
      written = wanted
      if !problem.isEmpty {
        eventLog.emit(.server, .notice, "\(content) written again", [.init("tries", "\(failures + 1)")])
      }
      problem = ""
      failures = 0
      unwritten.set(0)
    } catch {
      errors.add()
      failures += 1
      unwritten.set(1)
      // Once, not with every try: the message names another temporary file each time.
      if failures == 1 {
        eventLog.emit(
          .alarm, .error, "\(content) not written, trying again until it is: a restart before that forgets it",
          [.init("reason", error.message)])
      }
      problem = error.message
    }
  }

  /// Time after which to try again, longer each time; nil: all is written.
  var retryDelay: Duration? {
    guard !problem.isEmpty else { return nil }
    let doubled = Limits.stateRetryMillisecondsMin << min(max(failures - 1, 0), 16)
    return .milliseconds(min(doubled, Limits.stateRetryMillisecondsMax))
  }
}
