internal import Logging

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The server as a process of its own.
public enum ServerProcess {
  /// Runs until SIGTERM or SIGINT, or until a part fails.
  /// - Throws: ``ConfigurationError``, or the error of the part that failed.
  public static func run(_ configuration: ServerConfiguration) async throws {
    // A peer that goes away while it is written to is an error of that write only.
    signal(SIGPIPE, SIG_IGN)
    LoggingSystem.bootstrap { _ in LineLogHandler(format: configuration.logFormat, level: configuration.logLevel) }
    let server = try await NeedletailServer(configuration, logger: Logger(label: "needletail"))
    try await server.run()
  }

  /// One line on standard error.
  public static func report(_ line: String) { LineLogHandler.writeToStandardError(line + "\n") }
}
