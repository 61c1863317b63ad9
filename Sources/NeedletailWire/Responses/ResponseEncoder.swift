public import NIOCore
public import NeedletailCore
internal import NeedletailProtobuf

/// The encoder that appends framed responses other than predictions to a connection's output buffer.
///
/// It has no state; anyone may call it. The bytes equal those of Google's protobuf. A response that is too long for any
/// frame is replaced by an `INVALID_ARGUMENT` error.
public enum ResponseEncoder {
  /// Appends an error without an intermediate message: an overloaded server rejects far more often than it answers.
  /// - Complexity: O(bytes of the message); allocates only if `buffer` must grow.
  public static func appendError(id: UInt64, _ error: ServingError, to buffer: inout ByteBuffer) {
    var message = error.message
    if message.utf8.count > Limits.errorMessageBytesMax {
      message = String(message.unicodeScalars.prefix(Limits.errorMessageBytesMax / 4))
    }
    message.withUTF8 { text in
      let text = UnsafeRawBufferPointer(text)
      func bytes(_ value: UInt64) -> Int { value == 0 ? 0 : 1 + WireFormat.varintBytes(value) }
      let (code, retryAfter) = (UInt64(error.code.rawValue), UInt64(error.retryAfterMicroseconds))
      let detail = error.detail.map(Self.encoded) ?? []
      let statusBytes =
        bytes(code) + (text.isEmpty ? 0 : WireFormat.delimitedBytes(text.count)) + bytes(retryAfter)
        + (detail.isEmpty ? 0 : WireFormat.delimitedBytes(detail.count))
      let responseBytes = bytes(id) + WireFormat.delimitedBytes(statusBytes)
      buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 4 + responseBytes) { memory in
        guard let start = memory.baseAddress else { return 0 }
        var cursor = PresizedWriter(start)
        cursor.bigEndian(UInt32(responseBytes))
        if id != 0 { cursor.number(1, id) }
        cursor.header(2, bytes: statusBytes)
        if code != 0 { cursor.number(1, code) }
        if !text.isEmpty {
          cursor.header(2, bytes: text.count)
          cursor.copy(text)
        }
        if retryAfter != 0 { cursor.number(3, retryAfter) }
        if !detail.isEmpty {
          cursor.header(4, bytes: detail.count)
          detail.withUnsafeBytes { cursor.copy($0) }
        }
        assert(cursor.at == start + 4 + responseBytes, "the size was computed from the same figures")
        return 4 + responseBytes
      }
    }
  }

  /// An `ErrorDetail`, whose names are bounded by those who make one.
  private static func encoded(_ detail: ErrorDetail) -> [UInt8] {
    var message = MessageWriter()
    message.string(1, detail.field)
    // A member of a oneof is present even with its default value.
    if let row = detail.row { message.member(2, row) }
    if let limit = detail.limit {
      message.message(3) {
        $0.string(1, limit.name)
        $0.uint(2, limit.maximum)
        $0.uint(3, limit.found)
      }
    }
    return message.bytes
  }

  public static func appendHealth(id: UInt64, _ report: HealthReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(4, report) }
  }

  /// - Parameter text: Prometheus text format 0.0.4.
  public static func appendMetrics(id: UInt64, _ text: String, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(5) { $0.string(1, text) } }
  }

  public static func appendModels(id: UInt64, _ report: ModelListReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(6, report) }
  }

  public static func appendDescription(
    id: UInt64, _ description: ModelDescription, to buffer: inout ByteBuffer
  ) {
    append(id: id, to: &buffer) { $0.message(7, description) }
  }

  public static func appendAuthenticated(id: UInt64, principal: String, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(8) { $0.string(1, principal) } }
  }

  public static func appendEvents(id: UInt64, _ report: EventListReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(10, report) }
  }

  public static func appendRollout(id: UInt64, _ report: RolloutReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(11, report) }
  }

  public static func appendServerInfo(id: UInt64, _ report: ServerInfoReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(12, report) }
  }

  public static func appendFeedback(id: UInt64, _ report: FeedbackReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { $0.message(13, report) }
  }

  /// Calls with an id above `lastID` were not executed and are safe to retry elsewhere.
  public static func appendGoAway(lastID: UInt64, to buffer: inout ByteBuffer) {
    append(id: 0, to: &buffer) { $0.message(9) { $0.uint(1, lastID) } }
  }

  private static func append(id: UInt64, to buffer: inout ByteBuffer, _ build: (inout MessageWriter) -> Void) {
    var response = MessageWriter()
    response.uint(1, id)
    build(&response)
    guard response.bytes.count <= Limits.frameBytesHardCap else {
      return appendError(id: id, .tooLongAnswer(bytes: response.bytes.count), to: &buffer)
    }
    // A frame is never empty, because a response always has a status or a result.
    buffer.writeInteger(UInt32(response.bytes.count), endianness: .big)
    buffer.writeBytes(response.bytes)
  }
}

extension ServingError {
  static func tooLongAnswer(bytes: Int) -> ServingError {
    .init(.invalidArgument, "answer: expected at most \(Limits.frameBytesHardCap) bytes, found \(bytes); ask for less")
  }
}
