internal import NIOCore
internal import NeedletailSockets

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// The file of a Unix socket: what a killed server left behind is removed, what belongs to somebody is not.
enum UnixSocketFile {
  /// Of `sun_path`, without its terminator; the smaller one of Linux (108) and Darwin (104).
  static let pathBytesMax = 103

  /// Makes room at `path`.
  /// - Throws: if a file of another kind, or a socket that somebody listens on, stands there.
  static func prepare(_ path: String) throws(ConfigurationError) {
    guard path.utf8.count <= pathBytesMax else {
      throw ConfigurationError("--unix: expected a path of at most \(pathBytesMax) bytes, found \(path.utf8.count)")
    }
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { return }
    guard attributes[.type] as? FileAttributeType == .typeSocket else {
      throw ConfigurationError("--unix \(path): expected no file or a stale socket, found a file of another kind")
    }
    if let address = try? SocketAddress(unixDomainSocketPath: path), ListeningSocket.isListening(address) {
      throw ConfigurationError("--unix \(path): expected a free path, found a socket that another process listens on")
    }
    do {
      try FileManager.default.removeItem(atPath: path)
    } catch {
      throw ConfigurationError("--unix \(path): expected a free path, found a stale socket that cannot be removed")
    }
  }

  static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}
