public import NIOCore
public import NeedletailCore

/// Reads the `Response` of one frame. Stateless: anyone may call it.
public enum ResponseDecoder {
  /// - Throws: `.invalidArgument`, naming the message and the byte at which it is malformed.
  public static func decode(_ frame: ByteBuffer) throws(ServingError) -> ResponseMessage {
    // `withUnsafeReadableBytes` rethrows untyped, so the error leaves it as a value.
    let result = frame.withUnsafeReadableBytes { bytes in
      Result { () throws(ServingError) in try decode(bytes) }
    }
    return try result.get()
  }

  /// - Throws: `.invalidArgument`, naming the message and the byte at which it is malformed.
  public static func decode(_ frame: UnsafeRawBufferPointer) throws(ServingError) -> ResponseMessage {
    var id: UInt64 = 0
    var failure: ServingError?
    var result = ResponseMessage.Result.none
    var fields = FieldReader(frame, of: "Response")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): id = value
      case (2, .bytes(let status)): failure = try Self.status(status)
      case (3, .bytes(let message)): result = .predict(try Prediction(decoding: message))
      case (4, .bytes(let message)): result = .health(try HealthReport(decoding: message))
      case (5, .bytes(let message)): result = .metrics(try text(message, of: "MetricsResponse"))
      case (6, .bytes(let message)): result = .models(try ModelListReport(decoding: message))
      case (7, .bytes(let message)): result = .description(try ModelDescription(decoding: message))
      case (8, .bytes(let message)): result = .authenticated(principal: try text(message, of: "AuthenticateResponse"))
      case (9, .bytes(let message)): result = .goAway(lastID: try lastID(message))
      case (10, .bytes(let message)): result = .events(try EventListReport(decoding: message))
      case (11, .bytes(let message)): result = .rollout(try RolloutReport(decoding: message))
      default: break
      }
    }
    return ResponseMessage(id: id, result: failure.map { .failed($0) } ?? result)
  }

  /// - Returns: nil for `OK`. A code that this client does not know is a fault of the server.
  private static func status(_ message: UnsafeRawBufferPointer) throws(ServingError) -> ServingError? {
    var code: UInt64 = 0
    var text = ""
    var retryAfter: UInt32 = 0
    var fields = FieldReader(message, of: "Status")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): code = value
      case (2, .bytes(let bytes)): text = String(decoding: bytes, as: UTF8.self)
      case (3, .varint(let value)): retryAfter = UInt32(truncatingIfNeeded: value)
      default: break
      }
    }
    guard code != 0 else { return nil }
    let known = UInt8(exactly: code).flatMap(StatusCode.init(rawValue:)) ?? .internal
    return ServingError(known, text, retryAfterMicroseconds: retryAfter)
  }

  /// The one string of a message that has no other field.
  private static func text(
    _ message: UnsafeRawBufferPointer, of name: StaticString
  ) throws(ServingError) -> String {
    var text = ""
    var fields = FieldReader(message, of: name)
    while let field = try fields.next() {
      if field.number == 1, case .bytes(let bytes) = field.value { text = String(decoding: bytes, as: UTF8.self) }
    }
    return text
  }

  private static func lastID(_ message: UnsafeRawBufferPointer) throws(ServingError) -> UInt64 {
    var id: UInt64 = 0
    var fields = FieldReader(message, of: "GoAway")
    while let field = try fields.next() {
      if field.number == 1, case .varint(let value) = field.value { id = value }
    }
    return id
  }
}
