import Glibc

/// A program that a test runs beside itself.
///
/// `Foundation.Process` looks for open descriptors by reading entries of `/proc/self/fd` beyond the end of their buffer
/// (Swift 6.3). In a test process with a thousand open sockets that ended in a segmentation fault once in a few runs.
public final class ChildProcess {
  public struct SpawnFailure: Error {
    public var program: String
    public var message: String
  }

  private var process: pid_t?
  /// Exit status; 128 plus the signal's number if a signal ended the program; nil while it runs.
  public private(set) var status: Int32?

  /// Starts a program of the search path. Its standard input is empty, unless `input` names a file. It inherits no
  /// other descriptor, for all of ours are closed on exec.
  ///
  /// - Parameter output: the file for standard output and standard error; nil leaves those of the tests.
  /// - Throws: ``SpawnFailure`` if there is no such program.
  public init(_ command: [String], input: String = "/dev/null", output: String? = nil) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
    if let output {
      posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      posix_spawn_file_actions_adddup2(&actions, 1, 2)
    }
    var arguments = command.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var process = pid_t()
    let code = posix_spawnp(&process, command[0], &actions, nil, &arguments, environ)
    guard code == 0 else { throw SpawnFailure(program: command[0], message: String(cString: strerror(code))) }
    self.process = process
  }

  deinit { kill() }

  /// Returns the exit status once the program has ended.
  @discardableResult
  public func wait() -> Int32 {
    guard let process else { return status ?? 0 }
    var found: Int32 = 0
    while waitpid(process, &found, 0) < 0 && errno == EINTR {}
    self.process = nil
    let signal = found & 0x7f
    let status = signal == 0 ? (found >> 8) & 0xff : 128 + signal
    self.status = status
    return status
  }

  /// Ends the program at once, if it still runs.
  public func kill() {
    guard let process else { return }
    Glibc.kill(process, SIGKILL)
    wait()
  }

  /// Runs a program to its end.
  ///
  /// - Returns: its exit status and what it wrote to standard output and standard error.
  /// - Throws: ``SpawnFailure`` if there is no such program.
  public static func run(_ command: [String], input: [UInt8] = []) throws -> (status: Int32, output: [UInt8]) {
    let directory = try TemporaryDirectory()
    let output = directory.file("output")
    let child = try ChildProcess(command, input: try directory.write(input, to: "input"), output: output)
    let status = child.wait()
    return (status, try directory.read("output"))
  }
}
