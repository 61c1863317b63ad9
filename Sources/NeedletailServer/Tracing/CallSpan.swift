internal import NeedletailCore

/// One traced call, from its first byte to its answer, as a loop leaves it for the thread that exports it. Plain bits; the
/// name of the model follows it.
struct CallSpan: BitwiseCopyable {
  var trace: TraceID
  /// Number of the call's own span, not 0.
  var span: UInt64
  /// Span of the caller; 0: the trace begins here.
  var parent: UInt64 = 0
  /// Arrival of the first and of the last byte, and the answer, on the monotonic clock.
  var began: Instant
  var arrived: Instant
  var ended = Instant(nanoseconds: 0)
  /// Version that answered; 0: none did.
  var version: UInt64 = 0
  var queueMicroseconds: UInt32 = 0
  var computeMicroseconds: UInt32 = 0
  /// Rows of the batch; 0: nothing was computed.
  var batchRows: UInt32 = 0
  var rows: UInt32
  var status = StatusCode.ok
  var wire: WireProtocol
  /// Bytes of the model's name as the caller wrote it.
  var modelBytes: UInt16

  static let bytes = MemoryLayout<CallSpan>.size
}

/// The protocol that a call came by, as spans name it.
enum WireProtocol: UInt8, BitwiseCopyable {
  case binary
  case openInference

  /// Value of `network.protocol.name`.
  var name: String {
    switch self {
    case .binary: "needletail"
    case .openInference: "http"
    }
  }
}
