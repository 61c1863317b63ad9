import NeedletailRedis
import NeedletailTestSupport
import Testing

/// A real Redis server of a test, at a Unix socket in a directory of its own.
///
/// `@unchecked Sendable`: one test has it, and waits for each of its calls.
final class RedisServer: @unchecked Sendable {
  let directory: TemporaryDirectory
  let location: RedisLocation
  private var process: ChildProcess

  /// Whether the program is installed: Debian and Ubuntu have it in the package `redis-server`.
  static let isInstalled = (try? ChildProcess.run(["redis-server", "--version"]).status) == 0

  init() throws {
    directory = try TemporaryDirectory()
    location = try RedisLocation("unix://\(directory.file("redis.sock"))")
    process = try Self.start(directory)
    try wait()
  }

  private static func start(_ directory: TemporaryDirectory) throws -> ChildProcess {
    try ChildProcess(
      [
        "redis-server", "--port", "0", "--unixsocket", directory.file("redis.sock"), "--dir", directory.path, "--save",
        "",
        "--appendonly", "no",
      ],
      output: directory.file("redis.log"))
  }

  /// Waits until it answers.
  private func wait() throws {
    while true {
      if let connection = try? RedisConnection(to: location, password: nil, milliseconds: 5000),
        (try? connection.command([.text("PING")])) != nil
      {
        return
      }
      try #require(process.status == nil)
    }
  }

  /// Ends the server as a crash does.
  func kill() { process.kill() }

  /// Starts it again, empty.
  func restart() throws {
    process = try Self.start(directory)
    try wait()
  }

  /// Runs a command.
  @discardableResult
  func ask(_ words: String...) throws -> RedisReply {
    try RedisConnection(to: location, password: nil, milliseconds: 5000).command(words.map { .text($0) })
  }
}
