internal import CHiredis
internal import Glibc

/// A part of a command.
public enum RedisArgument {
  case text(String)
  case number(Int)
  /// Bytes that stay where they are until the command was sent.
  case bytes(UnsafeRawBufferPointer)
}

/// A script of Lua that Redis runs as a whole.
public struct RedisScript: Sendable {
  public let source: String

  public init(_ source: String) { self.source = source }
}

/// One connection to a Redis server. Calls block, each read and each write no longer than the connection's time limit.
/// One thread at a time may use it.
public final class RedisConnection {
  private let context: UnsafeMutablePointer<redisContext>
  private let location: RedisLocation
  /// Names that the server gave to scripts, by their source.
  private var names: [String: String] = [:]

  /// Connects, logs in and chooses the database.
  ///
  /// - Parameters:
  ///   - password: of the location's user; nil: the server asks for none.
  ///   - milliseconds: limit of the connection, and of each read and write later.
  /// - Throws: `.unreachable`; `.refused` where the server does not let in.
  public init(to location: RedisLocation, password: String?, milliseconds: Int) throws(RedisError) {
    let limit = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    let made =
      switch location.endpoint {
      case .tcp(let host, let port): redisConnectWithTimeout(host, Int32(port), limit)
      case .unix(let path): redisConnectUnixWithTimeout(path, limit)
      }
    guard let made else { throw RedisError(.unreachable, "\(location): expected memory for a connection, found none") }
    context = made
    self.location = location
    guard made.pointee.err == 0, redisSetTimeout(made, limit) == REDIS_OK else { throw failure("a connection") }
    if let password {
      var login: [RedisArgument] = [.text("AUTH")]
      if let user = location.user { login.append(.text(user)) }
      _ = try command(login + [.text(password)])
    }
    if location.database != 0 { _ = try command([.text("SELECT"), .number(location.database)]) }
  }

  deinit { redisFree(context) }

  /// What went wrong with the connection.
  private func failure(_ expected: String) -> RedisError {
    let sentence = withUnsafeBytes(of: context.pointee.errstr) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }.map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
    }
    let isTime = context.pointee.err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK)
    return RedisError(.unreachable, "\(location): expected \(expected), found \(isTime ? "none in time" : sentence)")
  }

  /// Whether the server has closed the connection, or sent what nobody asked for, since the last command.
  public var isStale: Bool {
    var entry = pollfd(fd: Int32(context.pointee.fd), events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, 0) != 0
  }

  /// Sends a command and waits for its answer.
  /// - Throws: `.unreachable` and `.malformed` leave the connection of no use, `.refused` does not.
  public func command(_ arguments: [RedisArgument]) throws(RedisError) -> RedisReply {
    var storage: [UInt8] = []
    let places = arguments.map { argument -> (offset: Int, count: Int) in
      let offset = storage.count
      switch argument {
      case .text(let text): storage.append(contentsOf: text.utf8)
      case .number(let number): storage.append(contentsOf: String(number).utf8)
      case .bytes(let bytes): return (offset, bytes.count)
      }
      return (offset, storage.count - offset)
    }
    // A pointer to nothing may be null, which the library takes for the end of the world.
    storage.append(0)
    errno = 0
    let raw = storage.withUnsafeBytes { storage -> UnsafeMutableRawPointer? in
      let pointers = zip(arguments, places).map { argument, place -> UnsafePointer<CChar>? in
        var start = storage.baseAddress.map { $0 + place.offset }
        if case .bytes(let bytes) = argument { start = bytes.baseAddress ?? storage.baseAddress }
        return start?.assumingMemoryBound(to: CChar.self)
      }
      var argv = pointers
      let lengths = places.map { $0.count }
      return argv.withUnsafeMutableBufferPointer {
        redisCommandArgv(context, Int32($0.count), $0.baseAddress, lengths)
      }
    }
    guard let raw else { throw failure("an answer") }
    defer { freeReplyObject(raw) }
    return try RedisReply(raw.assumingMemoryBound(to: redisReply.self))
  }

  /// Runs a script, and brings it to the server first where that does not know it.
  public func run(_ script: RedisScript, keys: [String], _ arguments: [RedisArgument]) throws(RedisError) -> RedisReply
  {
    let rest = [.number(keys.count)] + keys.map { RedisArgument.text($0) } + arguments
    do throws(RedisError) {
      return try command([.text("EVALSHA"), .text(try name(of: script))] + rest)
    } catch {
      guard error.reason == .refused, error.description.hasPrefix("NOSCRIPT") else { throw error }
    }
    // Somebody told the server to forget its scripts.
    names[script.source] = nil
    return try command([.text("EVALSHA"), .text(try name(of: script))] + rest)
  }

  private func name(of script: RedisScript) throws(RedisError) -> String {
    if let name = names[script.source] { return name }
    guard let name = try command([.text("SCRIPT"), .text("LOAD"), .text(script.source)]).text else {
      throw RedisError(.malformed, "\(location): expected the name of a script, found something else")
    }
    names[script.source] = name
    return name
  }
}
