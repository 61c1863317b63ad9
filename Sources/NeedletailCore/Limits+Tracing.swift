extension Limits {
  /// Traced calls that one loop may have between their head and their answer; more are answered and not traced. It is what
  /// a connection may have in flight by default, since who traces all calls of one client wants all of them.
  public static let tracedCallsMax = 4096
  /// Bytes of ended calls that one loop may have waiting for the thread that exports them: some 30,000 calls.
  public static let traceRingBytes = 4 << 20
  /// Calls of one export. Three spans of each make some 300 kB, of which collectors take 4 MB and more.
  public static let traceExportCallsMax = 512
  /// Time in microseconds after which ended calls are exported, however few they are.
  public static let traceExportMicroseconds = 1_000_000
  /// Time in microseconds that one export may take.
  public static let traceSendMicroseconds = 10_000_000
  /// Time in microseconds that the last export may take while the server stops.
  public static let traceStopMicroseconds = 2_000_000
  /// Exports of the same calls before they are given up.
  public static let traceAttemptsMax = 5
  /// Shortest and longest pause in microseconds before an export is tried again; it doubles from one to the other.
  public static let traceRetryMicroseconds: ClosedRange<UInt64> = 1_000_000...30_000_000
  /// Bytes of the file of HTTP fields for the collector, which has some keys.
  public static let traceHeadersBytesMax = 16 << 10
}
