internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailSystem

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// What the server itself must remember across restarts, apart from the store, which may be read-only:
/// a few small JSON files in a directory of its own (`state_directory`; systemd's `StateDirectory=`).
///
/// A file is written whole or not at all: temporary file, fsync, rename, fsync of the directory. Without
/// a directory nothing is written and nothing is found: state then lasts as long as the process.
/// Blocks; for the control plane. Whoever owns a file is the only one to read and write it.
public struct StateDirectory: Sendable {
  /// Nil: state is kept in memory only.
  public let path: String?

  /// State that ends with the process.
  public static let inMemory = StateDirectory(path: nil)

  private init(path: String?) { self.path = path }

  /// Makes the directory if it is not there, and checks that files can be made in it: better at start
  /// than at the first thing to remember.
  /// - Throws: `.io`.
  public init(creating path: String) throws(StateError) {
    self.path = path
    if mkdir(path, 0o700) != 0 && errno != EEXIST {
      throw StateError(.io, "create directory \(path): \(SystemFailure(errno).message)")
    }
    guard case .directory = FileFingerprint.of(path: path) else {
      throw StateError(.io, "\(path): expected a directory, found something else")
    }
    guard access(path, R_OK | W_OK | X_OK) == 0 else {
      throw StateError(.io, "\(path): expected a directory to write to, found: \(SystemFailure(errno).message)")
    }
  }

  /// Whether what is written outlives the process.
  public var isDurable: Bool { path != nil }

  /// - Returns: nil where nothing was written yet.
  /// - Throws: `.io`, `.oversized`, or `.malformed` where the content is not what ``write(_:to:)`` writes.
  ///   The caller starts without it and raises an alarm.
  public func read<Value: Decodable>(_ type: Value.Type, from name: String) throws(StateError) -> Value? {
    guard let file = filePath(name), let bytes = try Self.bytes(of: file) else { return nil }
    do {
      return try JSONDecoder().decode(Value.self, from: Data(bytes))
    } catch {
      throw StateError(.malformed, "\(file): expected state as this server writes it, found \(Self.place(of: error))")
    }
  }

  /// Returns once the value is on the disk; does nothing without a directory.
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
    do throws(BundleError) {
      try AtomicFile.write(bytes, to: file, replace: true)
    } catch {
      throw StateError(.io, error.message)
    }
  }

  /// - Precondition: `name` is one that this program chose.
  private func filePath(_ name: String) -> String? {
    precondition(!name.isEmpty && !name.contains("/") && !name.hasPrefix("."), "state file \(name)")
    return path.map { "\($0)/\(name)" }
  }

  /// - Returns: nil if there is no such file.
  private static func bytes(of file: String) throws(StateError) -> [UInt8]? {
    do throws(SmallFile.Failure) {
      // No link out of the directory.
      return try SmallFile.read(file, bytesMax: Limits.stateFileBytesMax, followingLinks: false)
    } catch {
      switch error {
      case .missing: return nil
      case .notAFile: throw StateError(.malformed, "\(file): expected a file, found something else")
      case .tooLong:
        throw StateError(.oversized, "\(file): expected at most \(Limits.stateFileBytesMax) bytes, found more")
      case .system(let code): throw StateError(.io, "read \(file): \(SystemFailure(code).message)")
      }
    }
  }

  /// Where a decoder stopped, in one line.
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
