internal import NeedletailCore
internal import NeedletailProtobuf

/// Writes traced calls as the `ExportTraceServiceRequest` of OTLP: for each call a span of its own, and below it one for
/// its time in the queue and one for the computation of its batch.
///
/// Source: opentelemetry-proto 1.x, trace/v1/trace.proto and collector/trace/v1/trace_service.proto; names of attributes
/// as OpenTelemetry's semantic conventions have them, and below `needletail.` where they have none.
struct SpanEncoder {
  /// Value of `service.name`.
  let service: String
  /// Nanoseconds of the wall clock less those of the monotonic one.
  let wallOffset: Int64
  /// Gives numbers for the spans below a call's.
  let number: () -> UInt64

  /// One call with the name of its model.
  struct Call {
    var span: CallSpan
    var model: String
  }

  private enum Kind: UInt64 {
    case `internal` = 1
    case server = 2
  }

  /// `Span.flags`: the caller is known to be remote or not, it is, and the trace is sampled.
  private enum Flags {
    static let sampled: UInt32 = 0x001
    static let knowsRemote: UInt32 = 0x100
    static let isRemote: UInt32 = 0x200
  }

  /// `Status.code` of a fault that is not the caller's.
  private static let errorCode: UInt64 = 2

  /// - Complexity: O(calls).
  func encode(_ calls: [Call]) -> [UInt8] {
    var request = MessageWriter()
    request.message(1) { resourceSpans in
      resourceSpans.message(1) { resource in
        Self.attribute(&resource, 1, "service.name", service)
        Self.attribute(&resource, 1, "service.version", needletailVersion)
      }
      resourceSpans.message(2) { scopeSpans in
        scopeSpans.message(1) { scope in
          scope.string(1, "needletail")
          scope.string(2, needletailVersion)
        }
        for call in calls { append(call, to: &scopeSpans) }
      }
    }
    return request.bytes
  }

  private func append(_ call: Call, to scopeSpans: inout MessageWriter) {
    let span = call.span
    scopeSpans.message(2) { message in
      // A name that no model has is the caller's, and would make as many names of spans as there are callers' mistakes.
      head(&message, span.trace, span.span, parent: span.parent, span.version > 0 ? "predict \(call.model)" : "predict")
      message.uint(6, Kind.server.rawValue)
      times(&message, span.began, span.ended)
      Self.attribute(&message, 9, "network.protocol.name", span.wire.name)
      Self.attribute(&message, 9, "needletail.model", call.model)
      if span.version > 0 { Self.attribute(&message, 9, "needletail.version", span.version) }
      Self.attribute(&message, 9, "needletail.rows", UInt64(span.rows))
      if span.batchRows > 0 { Self.attribute(&message, 9, "needletail.batch_rows", UInt64(span.batchRows)) }
      Self.attribute(&message, 9, "needletail.status", span.status.description)
      if span.status.isServerFault {
        Self.attribute(&message, 9, "error.type", span.status.description)
        message.message(15) { $0.uint(3, Self.errorCode) }
      }
      message.fixed32(16, Flags.sampled | Flags.knowsRemote | (span.parent == 0 ? 0 : Flags.isRemote))
    }
    guard span.batchRows > 0 else { return }
    let start = span.arrived.advanced(byMicroseconds: UInt64(span.queueMicroseconds))
    child(&scopeSpans, "queue", of: span, span.arrived, start)
    child(&scopeSpans, "compute", of: span, start, start.advanced(byMicroseconds: UInt64(span.computeMicroseconds)))
  }

  private func child(
    _ scopeSpans: inout MessageWriter, _ name: String, of span: CallSpan, _ start: Instant, _ end: Instant
  ) {
    scopeSpans.message(2) { message in
      head(&message, span.trace, number(), parent: span.span, name)
      message.uint(6, Kind.internal.rawValue)
      times(&message, start, end)
      message.fixed32(16, Flags.sampled | Flags.knowsRemote)
    }
  }

  private func head(_ message: inout MessageWriter, _ trace: TraceID, _ span: UInt64, parent: UInt64, _ name: String) {
    message.data(1, Self.bytes(trace.high) + Self.bytes(trace.low))
    message.data(2, Self.bytes(span))
    if parent != 0 { message.data(4, Self.bytes(parent)) }
    message.string(5, name)
  }

  private func times(_ message: inout MessageWriter, _ start: Instant, _ end: Instant) {
    message.fixed64(7, wall(start))
    message.fixed64(8, wall(end))
  }

  private func wall(_ instant: Instant) -> UInt64 {
    UInt64(clamping: Int64(clamping: instant.nanoseconds).addingReportingOverflow(wallOffset).partialValue)
  }

  private static func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

  private static func attribute(_ message: inout MessageWriter, _ field: Int, _ key: String, _ text: String) {
    message.message(field) { pair in
      pair.string(1, key)
      pair.message(2) { $0.element(1, text) }
    }
  }

  private static func attribute(_ message: inout MessageWriter, _ field: Int, _ key: String, _ number: UInt64) {
    message.message(field) { pair in
      pair.string(1, key)
      pair.message(2) { $0.member(3, number) }
    }
  }

  /// Reads the answer to an export.
  /// - Returns: spans that the collector did not take, and why; 0 for an answer that cannot be read, since its status said
  ///   that all went well.
  static func rejected(by response: [UInt8]) -> (spans: UInt64, reason: String) {
    response.withUnsafeBytes { bytes in
      var spans: UInt64 = 0
      var reason = ""
      do throws(ServingError) {
        var fields = MessageCursor(bytes, of: "ExportTraceServiceResponse")
        while let field = try fields.next() {
          guard field.number == 1, case .bytes(let partial) = field.value else { continue }
          var parts = MessageCursor(partial, of: "ExportTracePartialSuccess")
          while let part = try parts.next() {
            switch (part.number, part.value) {
            case (1, .varint(let count)): spans = count
            case (2, .bytes(let text)): reason = String(decoding: text.prefix(256), as: UTF8.self)
            default: break
            }
          }
        }
      } catch {
        return (0, "")
      }
      return (Int64(bitPattern: spans) < 0 ? 0 : spans, reason)
    }
  }
}

extension StatusCode {
  /// Whether the server, and not its caller, kept the call from being answered.
  var isServerFault: Bool {
    switch self {
    case .deadlineExceeded, .overloaded, .unavailable, .internal: true
    case .ok, .invalidArgument, .notFound, .unauthenticated, .permissionDenied, .unimplemented: false
    }
  }
}
