internal import NeedletailCore

/// A request of HTTP/1.1 with its whole body in memory.
package struct HTTPRequest {
  package var method: String
  /// Path with its query, percent-encoded as it goes on the wire.
  package var target: String
  /// Names in lower case.
  package var headers: [(name: String, value: String)] = []
  package var body: ArraySlice<UInt8> = []

  package init(
    method: String, target: String, headers: [(name: String, value: String)] = [], body: ArraySlice<UInt8> = []
  ) {
    self.method = method
    self.target = target
    self.headers = headers
    self.body = body
  }

  /// Whether sending it twice has the effect of sending it once.
  var isIdempotent: Bool { method != "POST" }

  /// Line and fields before the body.
  var head: [UInt8] {
    var text = "\(method) \(target) HTTP/1.1\r\n"
    for header in headers { text += "\(header.name): \(header.value)\r\n" }
    if !body.isEmpty || method == "PUT" || method == "POST" { text += "content-length: \(body.count)\r\n" }
    return Array((text + "\r\n").utf8)
  }
}

/// A response of HTTP/1.1.
package struct HTTPResponse {
  package var head: HTTPResponseHead
  /// The body; empty where it went to a sink.
  package var body: [UInt8] = []
}

/// Status line and fields of a response.
package struct HTTPResponseHead: Equatable {
  /// How the end of the body is told.
  package enum Framing: Equatable {
    case none
    case length(Int)
    case chunked
    case untilClose
  }

  package var status: Int
  /// Names in lower case.
  package var headers: [String: String]
  package var framing: Framing
  /// Whether the connection can be used again.
  package var keepsAlive: Bool

  static let bytesMax = 32 << 10
  private static let headersMax = 100

  package subscript(name: String) -> String? { headers[name] }

  /// Reads what stands before a body.
  ///
  /// - Parameters:
  ///   - bytes: up to the empty line, without it.
  ///   - method: of the request.
  /// - Throws: `.malformed` for what is no response, or one whose end could be read in two ways.
  init(_ bytes: some Collection<UInt8>, method: String) throws(ObjectStoreError) {
    guard let text = String(validating: bytes, as: UTF8.self) else { throw Self.wrong("fields in UTF-8") }
    var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
    let words = lines.removeFirst().split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count >= 2, words[0] == "HTTP/1.1" || words[0] == "HTTP/1.0", words[1].count == 3,
      let status = Int(words[1]), (100...599).contains(status)
    else { throw Self.wrong("a status line of HTTP/1.1") }
    guard lines.count <= Self.headersMax else { throw Self.wrong("at most \(Self.headersMax) fields") }
    self.status = status
    headers = [:]
    for line in lines {
      guard let colon = line.firstIndex(of: ":"), colon != line.startIndex,
        line[..<colon].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
      else { throw Self.wrong("fields of a name and a value") }
      let name = line[..<colon].lowercased()
      let value = line[line.index(after: colon)...].trimmingBlanks
      if let other = headers[name] {
        guard other == value || name != "content-length" else { throw Self.wrong("one length of the body") }
        headers[name] = name == "content-length" ? value : "\(other), \(value)"
      } else {
        headers[name] = value
      }
    }
    framing = .none
    keepsAlive = false
    framing = try Self.framing(headers, status: status, method: method)
    let isOld = words[0] == "HTTP/1.0"
    let connection = headers["connection"]?.lowercased() ?? ""
    keepsAlive = framing != .untilClose && (isOld ? connection == "keep-alive" : connection != "close")
  }

  private static func framing(
    _ headers: [String: String], status: Int, method: String
  ) throws(ObjectStoreError) -> Framing {
    let coding = headers["transfer-encoding"]?.lowercased()
    let length = headers["content-length"]
    guard coding == nil || length == nil else { throw wrong("a length or chunks of the body") }
    if method == "HEAD" || status < 200 || status == 204 || status == 304 { return .none }
    if let coding {
      guard coding == "chunked" else { throw wrong("a body in chunks") }
      return .chunked
    }
    guard let length else { return .untilClose }
    guard length.utf8.allSatisfy({ (48...57).contains($0) }), let count = Int(length) else {
      throw wrong("a length of the body in decimal digits")
    }
    return .length(count)
  }

  private static func wrong(_ expected: String) -> ObjectStoreError {
    ObjectStoreError(.malformed, "response: expected \(expected), found something else")
  }
}

extension Substring {
  /// The text without the spaces and tabs around it.
  var trimmingBlanks: String {
    let isBlank = { (character: Character) in character == " " || character == "\t" }
    guard let first = firstIndex(where: { !isBlank($0) }), let last = lastIndex(where: { !isBlank($0) }) else {
      return ""
    }
    return String(self[first...last])
  }
}
