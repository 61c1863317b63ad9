internal import CHiredis

/// What Redis answers, copied out of the library's memory.
public enum RedisReply: Equatable, Sendable {
  case none
  case integer(Int)
  /// A string of bytes, or a status.
  case bytes([UInt8])
  case list([RedisReply])

  /// Levels of lists within lists; the library itself stops at nine.
  static let depthMax = 8

  /// - Throws: `.refused` for an error, wherever it stands; `.malformed` for what this protocol version does not have.
  init(_ reply: UnsafePointer<redisReply>, depth: Int = 0) throws(RedisError) {
    let value = reply.pointee
    switch value.type {
    case REDIS_REPLY_NIL: self = .none
    case REDIS_REPLY_INTEGER: self = .integer(Int(value.integer))
    case REDIS_REPLY_STRING, REDIS_REPLY_STATUS: self = .bytes(Self.bytes(value))
    case REDIS_REPLY_ERROR: throw RedisError(.refused, Self.sentence(Self.bytes(value)))
    case REDIS_REPLY_ARRAY:
      guard depth < Self.depthMax else { throw RedisError(.malformed, "reply: expected few levels, found more") }
      var list: [RedisReply] = []
      for index in 0..<Int(value.elements) {
        guard let element = value.element?[index] else {
          throw RedisError(.malformed, "reply: expected \(value.elements) elements, found \(index)")
        }
        list.append(try RedisReply(element, depth: depth + 1))
      }
      self = .list(list)
    default: throw RedisError(.malformed, "reply: expected a type of RESP2, found \(value.type)")
    }
  }

  private static func bytes(_ reply: redisReply) -> [UInt8] {
    guard let start = reply.str, reply.len > 0 else { return [] }
    return Array(UnsafeRawBufferPointer(start: start, count: Int(reply.len)))
  }

  /// An error of Redis, short and on one line.
  private static func sentence(_ bytes: [UInt8]) -> String {
    String(decoding: bytes.prefix(300).map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
  }

  public var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  public var bytes: [UInt8]? { if case .bytes(let value) = self { value } else { nil } }
  public var list: [RedisReply]? { if case .list(let value) = self { value } else { nil } }
  /// Text in UTF-8; nil: something else.
  public var text: String? { bytes.flatMap { String(validating: $0, as: UTF8.self) } }
}
