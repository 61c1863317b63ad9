internal import Glibc
internal import NeedletailCore

extension Limits {
  /// Bytes of the head of an HTTP request: a key, some names, and what proxies add.
  static let httpHeadBytesMax = 16 << 10
  /// Fields of a head. Proxies add some; more cost time and say nothing.
  static let httpFieldsMax = 100
  /// Bytes of a request's `id`, which comes back with its answer.
  static let httpRequestIDBytesMax = 1 << 10
  /// Objects and lists of JSON within each other. Requests have five, and tensors may be nested lists.
  static let jsonDepthMax = 32
}

/// The head of one request of HTTP/1.1 (RFC 9112) as it lies in the input, which it borrows.
///
/// It is read strictly: a request that two readers could end at different places is refused, for a proxy in front might
/// take the rest for another client's request.
struct HTTPHead {
  enum Method {
    case get, head, post, delete, other
  }

  var method = Method.other
  /// Without the query.
  var path = UnsafeRawBufferPointer(start: nil, count: 0)
  var isHTTP10 = false
  /// Value of `Content-Length`; 0 without one.
  var bodyBytes = 0
  var isChunked = false
  /// Whether the connection ends with this request.
  var closes = false
  var expectsContinue = false
  /// What follows `Authorization: Bearer`; nil without one.
  var token: UnsafeRawBufferPointer?
  /// Value of `Inference-Header-Content-Length`.
  var jsonBytes: Int?
  /// Value of `traceparent`; empty without one. Where there are several, some text that is no trace, for none can be trusted.
  var traceparent = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Value of `Idempotency-Key`.
  var idempotencyKey: UnsafeRawBufferPointer?
  /// Whether the body is compressed.
  var isEncoded = false
  /// Bytes of the head with its empty line.
  var bytes = 0

  /// A request that has no answer but an error, after which the connection ends.
  struct Fault: Error, Equatable {
    var status: Int
    var message: String
  }

  /// Reads a head.
  /// - Returns: nil where it has not ended yet.
  /// - Complexity: O(bytes of the head), which are bounded.
  static func parse(_ input: UnsafeRawBufferPointer) throws(Fault) -> HTTPHead? {
    let seen = UnsafeRawBufferPointer(rebasing: input.prefix(Limits.httpHeadBytesMax))
    guard let end = endOfHead(seen) else {
      if seen.count == Limits.httpHeadBytesMax {
        throw Fault(status: 431, message: "head: expected at most \(Limits.httpHeadBytesMax) bytes, found more")
      }
      return nil
    }
    var head = HTTPHead()
    head.bytes = end
    var lines = Lines(UnsafeRawBufferPointer(rebasing: seen[..<(end - 2)]))
    guard let request = try lines.next() else { throw Fault(status: 400, message: "request line: found none") }
    try head.readRequestLine(request)
    var fields = Fields()
    while let line = try lines.next() {
      fields.count += 1
      guard fields.count <= Limits.httpFieldsMax else {
        throw Fault(status: 431, message: "head: expected at most \(Limits.httpFieldsMax) fields, found more")
      }
      try head.readField(line, &fields)
    }
    try head.check(fields)
    return head
  }

  /// - Returns: the byte behind the empty line.
  private static func endOfHead(_ bytes: UnsafeRawBufferPointer) -> Int? {
    guard let start = bytes.baseAddress else { return nil }
    var at = 0
    while let found = memchr(start + at, CInt(UInt8(ascii: "\n")), bytes.count - at) {
      at = UnsafeRawPointer(found) - start + 1
      if bytes.count - at >= 2, bytes[at] == UInt8(ascii: "\r"), bytes[at + 1] == UInt8(ascii: "\n") { return at + 2 }
    }
    return nil
  }

  /// The lines of a head, each without its end.
  private struct Lines {
    private var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    mutating func next() throws(Fault) -> UnsafeRawBufferPointer? {
      guard !rest.isEmpty else { return nil }
      guard let feed = rest.firstIndex(of: UInt8(ascii: "\n")), feed > 0, rest[feed - 1] == UInt8(ascii: "\r") else {
        throw Fault(status: 400, message: "head: expected lines that end with CR LF, found another end")
      }
      let line = UnsafeRawBufferPointer(rebasing: rest[..<(feed - 1)])
      guard !line.contains(where: { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7f }) else {
        throw Fault(status: 400, message: "head: expected visible characters, found a control character")
      }
      rest = UnsafeRawBufferPointer(rebasing: rest[(feed + 1)...])
      return line
    }
  }

  private mutating func readRequestLine(_ line: UnsafeRawBufferPointer) throws(Fault) {
    let space = UInt8(ascii: " ")
    guard let first = line.firstIndex(of: space), let last = line.lastIndex(of: space), first < last,
      !line[(first + 1)..<last].contains(space)
    else { throw Fault(status: 400, message: "request line: expected a method, a path and a version") }
    let version = UnsafeRawBufferPointer(rebasing: line[(last + 1)...])
    if version.elementsEqual("HTTP/1.0".utf8) {
      isHTTP10 = true
      closes = true
    } else if !version.elementsEqual("HTTP/1.1".utf8) {
      throw Fault(status: 505, message: "request line: expected HTTP/1.1, found another version")
    }
    let name = line[..<first]
    if name.elementsEqual("GET".utf8) {
      method = .get
    } else if name.elementsEqual("POST".utf8) {
      method = .post
    } else if name.elementsEqual("HEAD".utf8) {
      method = .head
    } else if name.elementsEqual("DELETE".utf8) {
      method = .delete
    }
    let target = UnsafeRawBufferPointer(rebasing: line[(first + 1)..<last])
    guard target.first == UInt8(ascii: "/") else {
      throw Fault(status: 400, message: "request line: expected a path that begins with /")
    }
    path = UnsafeRawBufferPointer(rebasing: target.prefix { $0 != UInt8(ascii: "?") })
  }

  /// What was found among the fields, for the checks behind the last of them.
  private struct Fields {
    var count = 0
    var hosts = 0
    var hasLength = false
    var hasTransferEncoding = false
    var hasTraceparent = false
  }

  private mutating func readField(_ line: UnsafeRawBufferPointer, _ fields: inout Fields) throws(Fault) {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > 0,
      !line[..<colon].contains(where: { $0 <= 0x20 || $0 >= 0x7f })
    else { throw Fault(status: 400, message: "head: expected fields of the form NAME: VALUE") }
    let name = UnsafeRawBufferPointer(rebasing: line[..<colon])
    let value = Self.trimmed(UnsafeRawBufferPointer(rebasing: line[(colon + 1)...]))
    switch name.count {
    case 4 where name.equalsIgnoringCase("host"): fields.hosts += 1
    case 6 where name.equalsIgnoringCase("expect"):
      guard value.equalsIgnoringCase("100-continue") else {
        throw Fault(status: 417, message: "Expect: expected 100-continue, found something else")
      }
      expectsContinue = true
    case 10 where name.equalsIgnoringCase("connection"):
      if Self.lists(value, "close") { closes = true }
      if isHTTP10, Self.lists(value, "keep-alive") { closes = false }
    case 11 where name.equalsIgnoringCase("traceparent"):
      traceparent = fields.hasTraceparent ? name : value
      fields.hasTraceparent = true
    case 13 where name.equalsIgnoringCase("authorization"):
      guard value.count > 7, UnsafeRawBufferPointer(rebasing: value[..<7]).equalsIgnoringCase("bearer ") else { break }
      token = Self.trimmed(UnsafeRawBufferPointer(rebasing: value[7...]))
    case 14 where name.equalsIgnoringCase("content-length"):
      guard !fields.hasLength, let length = Self.number(value) else {
        throw Fault(status: 400, message: "Content-Length: expected one number, found something else")
      }
      fields.hasLength = true
      bodyBytes = length
    case 15 where name.equalsIgnoringCase("idempotency-key"): idempotencyKey = value
    case 16 where name.equalsIgnoringCase("content-encoding"):
      isEncoded = !value.equalsIgnoringCase("identity") && !value.isEmpty
    case 17 where name.equalsIgnoringCase("transfer-encoding"):
      guard !fields.hasTransferEncoding, value.equalsIgnoringCase("chunked") else {
        throw Fault(status: 501, message: "Transfer-Encoding: expected chunked, found something else")
      }
      fields.hasTransferEncoding = true
      isChunked = true
    case 31 where name.equalsIgnoringCase("inference-header-content-length"):
      guard let length = Self.number(value) else {
        throw Fault(status: 400, message: "Inference-Header-Content-Length: expected a number, found something else")
      }
      jsonBytes = length
    default: break
    }
  }

  private func check(_ fields: Fields) throws(Fault) {
    guard fields.hosts == 1 || (isHTTP10 && fields.hosts == 0) else {
      throw Fault(status: 400, message: "Host: expected it once, found it \(fields.hosts) times")
    }
    guard !isChunked || (!fields.hasLength && !isHTTP10) else {
      throw Fault(status: 400, message: "Transfer-Encoding: expected no Content-Length and no HTTP/1.0 beside it")
    }
  }

  private static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var slice = bytes[...]
    while let first = slice.first, first == 0x20 || first == 0x09 { slice.removeFirst() }
    while let last = slice.last, last == 0x20 || last == 0x09 { slice.removeLast() }
    return UnsafeRawBufferPointer(rebasing: slice)
  }

  /// A number of decimal digits, at most 18 of them.
  private static func number(_ text: UnsafeRawBufferPointer) -> Int? {
    guard (1...18).contains(text.count) else { return nil }
    var value = 0
    for byte in text {
      let digit = byte &- UInt8(ascii: "0")
      guard digit < 10 else { return nil }
      value = value * 10 + Int(digit)
    }
    return value
  }

  /// Whether a list of words separated by commas has a word.
  private static func lists(_ value: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
    var rest = value[...]
    while true {
      let end = rest.firstIndex(of: UInt8(ascii: ",")) ?? rest.endIndex
      if trimmed(UnsafeRawBufferPointer(rebasing: rest[..<end])).equalsIgnoringCase(word) { return true }
      guard end < rest.endIndex else { return false }
      rest = rest[(end + 1)...]
    }
  }
}

extension UnsafeRawBufferPointer {
  /// - Parameter word: in lower case.
  func equalsIgnoringCase(_ word: StaticString) -> Bool {
    guard count == word.utf8CodeUnitCount else { return false }
    for index in 0..<count {
      let byte = self[index]
      let lower = byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
      if lower != word.utf8Start[index] { return false }
    }
    return true
  }
}

/// The chunks of a body that came without its length (RFC 9112, 7.1), put together as they arrive.
///
/// The input keeps its bytes until the body is whole, so that this only remembers how far it has read.
struct ChunkedBody {
  private(set) var bytes: [UInt8] = []
  /// Bytes behind the head that were read.
  private var offset = 0

  /// Bytes of the line before a chunk, extensions included, and of all trailers.
  private static let lineBytesMax = 256
  private static let trailerBytesMax = 4 << 10

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    offset = 0
  }

  /// Reads on.
  /// - Parameter body: what has arrived behind the head, from its first byte on.
  /// - Returns: bytes of the whole body on the wire; nil where it has not ended.
  mutating func read(_ body: UnsafeRawBufferPointer, bytesMax: Int) throws(HTTPHead.Fault) -> Int? {
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: body[offset...])
      guard let line = try Self.line(rest, max: Self.lineBytesMax) else { return nil }
      let size = try Self.size(UnsafeRawBufferPointer(rebasing: rest[..<line]))
      let start = line + 2
      if size == 0 {
        guard let trailer = try Self.trailer(UnsafeRawBufferPointer(rebasing: rest[start...])) else { return nil }
        return offset + start + trailer
      }
      guard size <= bytesMax - bytes.count else {
        throw HTTPHead.Fault(status: 413, message: "body: expected at most \(bytesMax) bytes, found more")
      }
      guard rest.count >= start + size + 2 else { return nil }
      guard rest[start + size] == UInt8(ascii: "\r"), rest[start + size + 1] == UInt8(ascii: "\n") else {
        throw HTTPHead.Fault(status: 400, message: "chunk: expected its end after \(size) bytes, found more")
      }
      bytes.append(contentsOf: rest[start..<(start + size)])
      offset += start + size + 2
    }
  }

  /// Length of the line at the front, without its end.
  private static func line(_ bytes: UnsafeRawBufferPointer, max: Int) throws(HTTPHead.Fault) -> Int? {
    guard let feed = bytes.prefix(max).firstIndex(of: UInt8(ascii: "\n")) else {
      guard bytes.count < max else {
        throw HTTPHead.Fault(status: 400, message: "chunk: expected a line of at most \(max) bytes, found more")
      }
      return nil
    }
    guard feed > 0, bytes[feed - 1] == UInt8(ascii: "\r") else {
      throw HTTPHead.Fault(status: 400, message: "chunk: expected lines that end with CR LF, found another end")
    }
    return feed - 1
  }

  private static func size(_ line: UnsafeRawBufferPointer) throws(HTTPHead.Fault) -> Int {
    let digits = line.prefix { $0 != UInt8(ascii: ";") }
    var size = 0
    guard (1...8).contains(digits.count) else {
      throw HTTPHead.Fault(status: 400, message: "chunk: expected a size of 1 to 8 hexadecimal digits")
    }
    for byte in digits {
      guard let digit = Hexadecimal.digit(byte) else {
        throw HTTPHead.Fault(status: 400, message: "chunk: expected a size of 1 to 8 hexadecimal digits")
      }
      size = size * 16 + digit
    }
    return size
  }

  /// Bytes of the trailers with their empty line.
  private static func trailer(_ bytes: UnsafeRawBufferPointer) throws(HTTPHead.Fault) -> Int? {
    var at = 0
    while at < trailerBytesMax {
      guard let line = try line(UnsafeRawBufferPointer(rebasing: bytes[at...]), max: trailerBytesMax) else {
        return nil
      }
      at += line + 2
      if line == 0 { return at }
    }
    throw HTTPHead.Fault(status: 431, message: "trailers: expected at most \(trailerBytesMax) bytes, found more")
  }
}

enum Hexadecimal {
  /// Value of digits in lower case; nil: there is something else.
  /// - Parameter digits: 16 at most.
  static func number(lowercase digits: Slice<UnsafeRawBufferPointer>) -> UInt64? {
    var value: UInt64 = 0
    for byte in digits {
      guard !(UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte), let digit = digit(byte) else { return nil }
      value = value << 4 | UInt64(digit)
    }
    return value
  }

  /// Eight digits.
  static func digits(_ value: UInt32) -> [UInt8] {
    (0..<8).map { place in
      let digit = UInt8(value >> UInt32(28 - 4 * place) & 15)
      return digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") - 10 + digit
    }
  }

  static func digit(_ byte: UInt8) -> Int? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(byte - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(byte - UInt8(ascii: "A")) + 10
    default: nil
    }
  }
}

extension ReceiveBuffer {
  /// Passes over a line or two before a request, as RFC 9112, 2.2 asks.
  mutating func skipEmptyLines() {
    while unread.count >= 2, unread[0] == UInt8(ascii: "\r"), unread[1] == UInt8(ascii: "\n") { consume(2) }
  }
}
