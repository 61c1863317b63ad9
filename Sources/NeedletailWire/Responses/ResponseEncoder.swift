public import NIOCore
public import NeedletailCore

/// Appends framed responses, other than predictions, to a connection's output buffer.
///
/// Stateless: anyone may call it. The bytes equal those of Google's protobuf. A response that no
/// frame can hold is answered with an `INVALID_ARGUMENT` error in its place.
public enum ResponseEncoder {
  /// Written without a detour: an overloaded server says no far more often than it answers.
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
      let statusBytes = bytes(code) + (text.isEmpty ? 0 : WireFormat.delimitedBytes(text.count)) + bytes(retryAfter)
      let responseBytes = bytes(id) + WireFormat.delimitedBytes(statusBytes)
      buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 4 + responseBytes) { memory in
        guard let start = memory.baseAddress else { return 0 }
        var cursor = WireCursor(start)
        cursor.bigEndian(UInt32(responseBytes))
        if id != 0 { cursor.number(1, id) }
        cursor.header(2, bytes: statusBytes)
        if code != 0 { cursor.number(1, code) }
        if !text.isEmpty {
          cursor.header(2, bytes: text.count)
          cursor.copy(text)
        }
        if retryAfter != 0 { cursor.number(3, retryAfter) }
        assert(cursor.at == start + 4 + responseBytes, "the size was computed from the same figures")
        return 4 + responseBytes
      }
    }
  }

  public static func appendHealth(id: UInt64, _ report: HealthReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { response in
      response.message(4) { health in
        health.bool(1, report.live)
        health.bool(2, report.ready)
        for model in report.models { health.message(3) { $0.write(model) } }
      }
    }
  }

  /// - Parameter text: Prometheus text format 0.0.4.
  public static func appendMetrics(id: UInt64, _ text: String, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { response in
      response.message(5) { $0.string(1, text) }
    }
  }

  public static func appendModels(id: UInt64, _ report: ModelListReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { response in
      response.message(6) { list in
        for model in report.models { list.message(1) { $0.write(model) } }
        for problem in report.problems {
          list.message(2) {
            $0.string(1, problem.path)
            $0.string(2, problem.reason)
          }
        }
      }
    }
  }

  public static func appendDescription(
    id: UInt64, _ description: ModelDescription, to buffer: inout ByteBuffer
  ) {
    append(id: id, to: &buffer) { response in
      response.message(7) { $0.write(description) }
    }
  }

  public static func appendAuthenticated(id: UInt64, principal: String, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { response in
      response.message(8) { $0.string(1, principal) }
    }
  }

  public static func appendEvents(id: UInt64, _ report: EventListReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { response in
      response.message(10) { list in
        list.uint(1, report.oldest)
        list.uint(2, report.newest)
        for event in report.events { list.message(3) { $0.write(event) } }
        list.uint(4, report.beganMilliseconds)
      }
    }
  }

  public static func appendRollout(id: UInt64, _ report: RolloutReport, to buffer: inout ByteBuffer) {
    append(id: id, to: &buffer) { response in
      response.message(11) { $0.write(report) }
    }
  }

  /// Calls with an id above `lastID` were not executed and are safe to retry elsewhere.
  public static func appendGoAway(lastID: UInt64, to buffer: inout ByteBuffer) {
    append(id: 0, to: &buffer) { response in
      response.message(9) { $0.uint(1, lastID) }
    }
  }

  private static func append(id: UInt64, to buffer: inout ByteBuffer, _ build: (inout MessageWriter) -> Void) {
    var response = MessageWriter()
    response.uint(1, id)
    build(&response)
    guard response.bytes.count <= Limits.frameBytesHardCap else {
      return appendError(id: id, .tooLongAnswer(bytes: response.bytes.count), to: &buffer)
    }
    // An empty frame is no frame: a response always holds a status or a result.
    buffer.writeInteger(UInt32(response.bytes.count), endianness: .big)
    buffer.writeBytes(response.bytes)
  }
}

extension ServingError {
  static func tooLongAnswer(bytes: Int) -> ServingError {
    .init(.invalidArgument, "answer: expected at most \(Limits.frameBytesHardCap) bytes, found \(bytes); ask for less")
  }
}

extension MessageWriter {
  fileprivate mutating func write(_ model: ModelStatusReport) {
    string(1, model.model)
    uint(2, model.servingVersion)
    for version in model.versions { message(3) { $0.write(version) } }
  }

  fileprivate mutating func write(_ version: VersionReport) {
    uint(1, version.version)
    uint(2, UInt64(version.state?.rawValue ?? 0))
    string(3, version.reason)
    string(4, version.digest)
    string(5, version.signer)
    uint(6, version.sinceMilliseconds)
    uint(7, version.residentBytes)
    guard let traffic = version.traffic else { return }
    message(8) {
      $0.uint(1, traffic.requests)
      $0.uint(2, traffic.failed)
      $0.uint(3, traffic.rows)
      $0.uint(4, traffic.recentRequests)
      $0.uint(5, traffic.recentFailed)
      $0.uint(6, traffic.recentRows)
      $0.uint(7, UInt64(traffic.windowMilliseconds))
      $0.uint(8, UInt64(traffic.shareMillionths))
      $0.uint(9, UInt64(traffic.p50Microseconds))
      $0.uint(10, UInt64(traffic.p99Microseconds))
    }
  }

  fileprivate mutating func write(_ report: RolloutReport) {
    string(1, report.model)
    uint(2, report.servingVersion)
    for arm in report.arms {
      message(3) {
        $0.uint(1, arm.version)
        $0.strings(2, arm.labels)
        $0.uint(3, UInt64(arm.shareMillionths))
        $0.uint(4, arm.requests)
        $0.uint(5, arm.failed)
        $0.uint(6, arm.rows)
        $0.uint(7, arm.nonFinite)
        $0.uint(8, arm.computeNanoseconds)
      }
    }
    for aside in report.setAside {
      message(4) {
        $0.uint(1, aside.version)
        $0.string(2, aside.cause)
        $0.string(3, aside.reason)
        $0.uint(4, aside.sinceMilliseconds)
      }
    }
    if let shadow = report.shadow {
      message(5) {
        $0.uint(1, shadow.version)
        $0.uint(2, shadow.rows)
        $0.uint(3, shadow.flips)
        $0.uint(4, shadow.skipped)
        $0.uint(5, shadow.nonFinite)
        $0.double(6, shadow.maxDifference)
        $0.uint(7, shadow.computeNanoseconds)
        $0.string(8, shadow.problem)
      }
    }
    string(6, report.file)
    string(7, report.problem)
    bool(8, report.isDurable)
    for label in report.labels {
      message(9) {
        $0.string(1, label.name)
        $0.uint(2, label.version)
        $0.uint(3, label.answering)
        $0.uint(4, UInt64(label.state?.rawValue ?? 0))
        $0.string(5, label.reason)
      }
    }
  }

  fileprivate mutating func write(_ event: EventReport) {
    uint(1, event.sequence)
    uint(2, event.milliseconds)
    string(3, event.kind)
    string(4, event.severity)
    string(5, event.message)
    string(6, event.model)
    uint(7, event.version)
    for fact in event.facts {
      message(8) {
        $0.string(1, fact.name)
        $0.string(2, fact.value)
      }
    }
  }

  fileprivate mutating func write(_ spec: TensorSpecReport) {
    string(1, spec.name)
    uint(2, UInt64(spec.type?.rawValue ?? 0))
    packed(3, spec.shape)
    strings(4, spec.categories)
    bool(5, spec.optional)
    string(6, spec.summary)
  }

  fileprivate mutating func write(_ description: ModelDescription) {
    string(1, description.model)
    uint(2, description.version)
    uint(3, UInt64(description.state?.rawValue ?? 0))
    string(4, description.task)
    for input in description.inputs { message(5) { $0.write(input) } }
    for output in description.outputs { message(6) { $0.write(output) } }
    strings(7, description.labels)
    string(8, description.digest)
    string(9, description.signer)
    uint(10, description.createdMilliseconds)
    map(11, description.metrics)
    map(12, description.lineage)
    string(13, description.precision)
    string(14, description.isa)
    uint(15, description.residentBytes)
    strings(16, description.plan)
    if let status = description.status { message(17) { $0.write(status) } }
    string(18, description.planChoice)
  }
}
