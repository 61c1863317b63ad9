/// Place of a Redis server: `redis://[USER@]HOST[:PORT][/DB]`, or `unix:///PATH[?db=DB]`. A password is never part of it.
public struct RedisLocation: Equatable, Sendable, CustomStringConvertible {
  public enum Endpoint: Equatable, Sendable {
    /// - Parameter host: a name or an address, without brackets.
    case tcp(host: String, port: Int)
    case unix(path: String)
  }

  public let endpoint: Endpoint
  /// Name to log in with, of Redis 6 or newer; nil: the default user.
  public let user: String?
  /// Number of the database.
  public let database: Int

  public static let portDefault = 6379
  /// Bytes that the path of a Unix socket may have.
  private static let socketPathBytesMax = 107

  /// - Throws: a sentence that says what was expected and what found.
  public init(_ text: String) throws(RedisError) {
    if let rest = text.withoutPrefix("unix://") {
      let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
      guard let path = parts.first, path.hasPrefix("/"), path.utf8.count <= Self.socketPathBytesMax else {
        throw Self.wrong("unix:///PATH of at most \(Self.socketPathBytesMax) bytes", "another path")
      }
      endpoint = .unix(path: String(path))
      user = nil
      database = try parts.count == 1 ? 0 : Self.database(parts[1].withoutPrefix("db="))
      return
    }
    guard text.withoutPrefix("rediss://") == nil else {
      throw Self.wrong(
        "redis:// or unix://", "rediss://: connections to Redis are not encrypted; use a tunnel or a Unix socket")
    }
    guard var rest = text.withoutPrefix("redis://") else {
      throw Self.wrong("redis://HOST:PORT/DB or unix:///PATH", "something else")
    }
    if let slash = rest.lastIndex(of: "/") {
      let digits = rest[rest.index(after: slash)...]
      database = digits.isEmpty ? 0 : try Self.database(digits)
      rest = rest[..<slash]
    } else {
      database = 0
    }
    if let at = rest.lastIndex(of: "@") {
      let name = rest[..<at]
      guard !name.contains(":") else { throw Self.wrong("no password in the place of Redis", "one; name its file") }
      guard !name.isEmpty, !name.contains("/") else { throw Self.wrong("USER@HOST", "no user") }
      user = String(name)
      rest = rest[rest.index(after: at)...]
    } else {
      user = nil
    }
    endpoint = try Self.address(rest)
  }

  private static func address(_ text: Substring) throws(RedisError) -> Endpoint {
    var host = text
    var port = portDefault
    if let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") {
      guard let number = Self.number(text[text.index(after: colon)...]), (1...65_535).contains(number) else {
        throw wrong("a port from 1 to 65535", "something else")
      }
      port = number
      host = text[..<colon]
    }
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      throw wrong("an address of IPv6 in brackets", "none")
    }
    let isPlain = host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }
    guard !host.isEmpty, host.utf8.count <= 255, isPlain else { throw wrong("a host", "none") }
    return .tcp(host: String(host), port: port)
  }

  private static func database(_ digits: Substring?) throws(RedisError) -> Int {
    guard let digits, let number = number(digits), number < 1_000_000 else {
      throw wrong("the number of a database", "something else")
    }
    return number
  }

  private static func number(_ digits: Substring) -> Int? {
    guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(digits)
  }

  private static func wrong(_ expected: String, _ found: String) -> RedisError {
    RedisError(.malformed, "expected \(expected), found \(found)")
  }

  public var description: String {
    switch endpoint {
    case .tcp(let host, let port): "redis://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)"
    case .unix(let path): "unix://\(path)?db=\(database)"
    }
  }
}

extension StringProtocol where SubSequence == Substring {
  fileprivate func withoutPrefix(_ prefix: String) -> Substring? {
    hasPrefix(prefix) ? self[index(startIndex, offsetBy: prefix.count)...] : nil
  }
}
