internal import NeedletailCore
internal import NeedletailSystem
internal import FoundationEssentials
internal import Glibc

/// A directory for what the server itself must remember across restarts (`state_directory`; systemd's `StateDirectory=`): a
/// few small JSON files, apart from the store, which may be read-only.
///
/// A file is written whole or not at all: temporary file, fsync, rename, fsync of the directory. Without a directory
/// nothing is written and nothing is found: state then lasts as long as the process. Calls block: they are for the control
/// plane. Each file is read and written by one owner.
public struct StateDirectory: Sendable {
  /// Path of the directory; nil if state is kept in memory only.
  public let path: String?

  /// State that ends with the process.
  public static let inMemory = StateDirectory(path: nil)

  private init(path: String?) { self.path = path }

  /// Makes the directory if there is none, and checks that files can be made in it: a mistake shows at the start and not
  /// with the first thing to remember.
  ///
  /// - Throws: `.io`.
  public init(creating path: String) throws(StateError) {
    self.path = path
    do throws(SystemError) { try Directory.create(path, mode: 0o700) } catch {
      throw StateError(.io, error.description)
    }
    guard case .directory = FileFingerprint.of(path: path) else {
      throw StateError(.io, "\(path): expected a directory, found something else")
    }
    guard access(path, R_OK | W_OK | X_OK) == 0 else {
      throw StateError(.io, "\(path): expected a directory to write to, found: \(SystemError("").reason)")
    }
  }

  /// Whether what is written outlives the process.
  public var isDurable: Bool { path != nil }

  /// Reads a value that ``write(_:to:)`` wrote.
  ///
  /// - Returns: nil if nothing was written yet.
  /// - Throws: `.io`, `.oversized`, or `.malformed` if the content is not what ``write(_:to:)`` writes.
  ///   The caller starts without it and raises an alarm.
  public func read<Value: Decodable>(_ type: Value.Type, from name: String) throws(StateError) -> Value? {
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
