public import NeedletailCore

/// What a load generator must know of a response. Borrows the receive buffer.
public struct AnswerView {
  public var id: UInt64 = 0
  /// Code as the server sent it; 0 is OK.
  public var code: UInt64 = 0
  /// The version that answered; 0 where there is none.
  public var version: UInt64 = 0
  /// Name of the model that answered.
  public var model = UnsafeRawBufferPointer(start: nil, count: 0)
  /// How long the call waited in the server before it was computed.
  public var queueMicroseconds: UInt64 = 0
  /// The `PredictResponse`, for verification; nil where the response is none.
  public var prediction: UnsafeRawBufferPointer?
  /// With `GoAway`: the last call that was executed.
  public var goAwayLastID: UInt64?

  /// Reads a frame's payload.
  /// - Returns: nil if it is no protobuf message.
  @inline(__always)
  public init?(_ frame: UnsafeRawBufferPointer) {
    var fields = FieldScanner(frame)
    while fields.next() {
      switch (fields.number, fields.isDelimited) {
      case (1, false): id = fields.value
      case (2, true):
        guard let code = Self.first(of: fields.bytes) else { return nil }
        self.code = code
      case (3, true): prediction = fields.bytes
      case (9, true):
        guard let last = Self.first(of: fields.bytes) else { return nil }
        goAwayLastID = last
      default: break
      }
    }
    guard !fields.isMalformed else { return nil }
    guard let prediction else { return }
    var inner = FieldScanner(prediction)
    while inner.next() {
      switch (inner.number, inner.isDelimited) {
      case (1, true): model = inner.bytes
      case (2, false): version = inner.value
      case (4, true):
        guard let queued = Self.first(of: inner.bytes) else { return nil }
        queueMicroseconds = queued
      default: break
      }
    }
    if inner.isMalformed { return nil }
  }

  /// The code as this program knows it; one that it does not know is a fault of the server.
  public var status: StatusCode { UInt8(exactly: code).flatMap(StatusCode.init(rawValue:)) ?? .internal }

  /// The varint of field 1, 0 if absent; nil if malformed.
  private static func first(of message: UnsafeRawBufferPointer) -> UInt64? {
    var value: UInt64 = 0
    var fields = FieldScanner(message)
    while fields.next() {
      if fields.number == 1, !fields.isDelimited { value = fields.value }
    }
    return fields.isMalformed ? nil : value
  }
}
