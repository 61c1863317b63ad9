internal import CNeedletailSystem
internal import Glibc
internal import Logging
internal import NeedletailCore
internal import NeedletailSystem
internal import ServiceLifecycle
internal import UnixSignals

/// The server as a process of its own: its limits, its signals and its log.
public enum ServerProcess {
  /// Checks what the process was given before anything else runs. Called first in `main`: with less, memory or a stack
  /// runs out where no error can be made of it, and the process would end by a signal.
  /// - Throws: ``ConfigurationError`` that names the limit.
  public static func checkLimits() throws(ConfigurationError) {
    try checkLimits(
      addressSpaceBytes: nt_limit_address_space_bytes(), stackBytes: nt_limit_stack_bytes(),
      processors: Processors.count)
  }

  static func checkLimits(
    addressSpaceBytes: UInt64, stackBytes: UInt64, processors: Int
  ) throws(ConfigurationError) {
    // For each processor a loop, a worker, and a thread each of the engine and of BLAS; some more for everything else.
    let stacks = UInt64(4 * processors + 8).multipliedReportingOverflow(by: min(stackBytes, 8 << 20)).partialValue
    let needed = UInt64(Limits.addressSpaceBytesMin) + stacks
    guard addressSpaceBytes >= needed else {
      throw ConfigurationError(
        "address space (ulimit -v): expected at least \(needed >> 10) KiB, found \(addressSpaceBytes >> 10); memory_max bounds what models take"
      )
    }
    guard stackBytes >= UInt64(Limits.stackBytesMin) else {
      throw ConfigurationError(
        "stack (ulimit -s): expected at least \(Limits.stackBytesMin >> 10) KiB, found \(stackBytes >> 10)")
    }
  }

  /// Runs until SIGTERM or SIGINT, or until a part fails.
  /// - Throws: ``ConfigurationError``, or the error of the part that failed.
  public static func run(_ configuration: ServerConfiguration) async throws {
    // Writing to a peer that has gone is an error of that write only. SIGHUP reloads once the server runs; these two
    // have no meaning, and their default would end the process without a drain.
    for ignored in [SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2] { signal(ignored, SIG_IGN) }
    let log = LogWriter(descriptor: STDERR_FILENO, bytesMax: Limits.logBytesMax) { lines in
      LogLine.render(
        configuration.logFormat, time: LineLogHandler.timestamp(), level: "warning",
        message: "log lines dropped: nobody read the log",
        pairs: [("lines", LogValue(text: "\(lines)", isNumber: true))])
    }
    defer { log.flush(within: .milliseconds(Limits.logFlushMilliseconds)) }
    LoggingSystem.bootstrap { _ in
      LineLogHandler(format: configuration.logFormat, level: configuration.logLevel, write: log.write)
    }
    var configuration = configuration
    try DescriptorBudget.apply(to: &configuration)
    let server = try await NeedletailServer(configuration, logger: Logger(label: "needletail"), log: log)
    try await server.run()
  }

  /// Writes one line to standard error. If nobody reads there, it is lost: the process must end.
  public static func report(_ line: String) {
    var line = line + "\n"
    let limit = Instant.now().advanced(byMicroseconds: UInt64(Limits.logFlushMilliseconds) * 1000)
    line.withUTF8 { DescriptorOutput.write(UnsafeRawBufferPointer($0), to: STDERR_FILENO, until: limit) }
  }
}

/// How the process's descriptors are shared out, so that no flood of connections takes those that other parts need: with
/// none left, the store could not be read, and the log said "too many open files" only.
struct DescriptorBudget: Equatable {
  /// Connections for calls.
  let calls: Int
  /// Connections to the admin port.
  let admin: Int

  /// - Parameters:
  ///   - limit: descriptors that the process may have.
  ///   - threads: event loops, each of which has three.
  /// - Returns: nil if not even one call and one connection to the admin port are left.
  init?(limit: UInt64, callsWanted: Int, adminWanted: Int, threads: Int) {
    let free = Int(clamping: limit) - Self.reserve(threads: threads)
    admin = min(adminWanted, max(1, free / 8))
    calls = min(callsWanted, free - admin)
    guard calls > 0 else { return nil }
  }

  /// Descriptors of everything that is no connection: standard streams, listening sockets, pollers and events of the loops
  /// and workers, the watch on the store, and files of the store, of keys and of the state while they are read.
  static func reserve(threads: Int) -> Int { Limits.descriptorsReserved + 3 * threads }

  /// Raises the process's limit as far as the connections need it, and lowers the numbers of connections to what it
  /// allows.
  /// - Throws: if there is no room for a connection.
  static func apply(to configuration: inout ServerConfiguration) throws(ConfigurationError) {
    let threads = configuration.threads == 0 ? Processors.count : configuration.threads
    let (calls, admin) = (configuration.limits.connectionsMax, configuration.adminConnectionsMax)
    let wanted = UInt64(calls + admin + reserve(threads: threads))
    let limit = nt_raise_descriptors(wanted)
    guard limit < wanted else { return }
    guard let budget = DescriptorBudget(limit: limit, callsWanted: calls, adminWanted: admin, threads: threads) else {
      throw ConfigurationError(
        "descriptors (ulimit -n): expected at least \(reserve(threads: threads) + 2), found \(limit)")
    }
    configuration.limits.connectionsMax = budget.calls
    configuration.adminConnectionsMax = budget.admin
    configuration.warnings.append(
      "descriptors (ulimit -n): expected \(wanted) for limits.connections_max \(calls), found \(limit): at most \(budget.calls) connections for calls and \(budget.admin) to the admin port are taken"
    )
  }
}

/// Reads everything that can change again, whenever SIGHUP arrives.
struct HangupService: Service {
  let reload: @Sendable () async -> Void

  func run() async throws {
    await cancelWhenGracefulShutdown {
      for await _ in await UnixSignalsSequence(trapping: .sighup) { await reload() }
    }
  }
}
