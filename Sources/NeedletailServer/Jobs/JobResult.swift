internal import NIOCore
internal import NeedletailCore

/// Answer of a job, encoded. It holds its bytes of the budget until nobody reads it any more.
final class JobResult: Sendable {
  let body: ByteBuffer
  /// Bytes of the JSON in front of the outputs that come as bytes; nil: there are none.
  let jsonBytes: Int?
  private let reservation: JobReservation

  init(_ body: ByteBuffer, jsonBytes: Int?, _ reservation: JobReservation) {
    self.body = body
    self.jsonBytes = jsonBytes
    self.reservation = reservation
  }
}

/// Body of the answer that brings a job's result, piece by piece. Confined to its connection's loop.
final class JobResultStream: AnswerStream {
  private let result: JobResult
  private var bytesWritten = 0

  init(_ result: JobResult) { self.result = result }

  // The last reference frees megabytes, which is not for an event loop.
  deinit { Task { [result] in withExtendedLifetime(result) {} } }

  override var bytesLeft: Int { result.body.readableBytes - bytesWritten }

  override func write(bytes: Int, to output: inout ByteBuffer) {
    let count = min(bytes, bytesLeft)
    result.body.withUnsafeReadableBytes { all in
      _ = output.writeBytes(UnsafeRawBufferPointer(rebasing: all[bytesWritten..<bytesWritten + count]))
    }
    bytesWritten += count
  }
}
