internal import FoundationEssentials
internal import Glibc
internal import NIOCore
internal import NIOHTTP1

/// An answer of the admin port.
struct AdminResponse: Sendable {
  var status: HTTPResponseStatus
  /// Headers that depend on what is answered. Length, date and connection are added on the way out.
  var headers: HTTPHeaders
  var body: ByteBuffer

  /// The page may load its own two files and ask its own server, and nothing else; nobody may frame it.
  private static let contentSecurityPolicy = [
    "default-src 'none'", "style-src 'self'", "script-src 'self'", "connect-src 'self'", "img-src data:",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  ].joined(separator: "; ")

  private init(_ body: ByteBuffer, status: HTTPResponseStatus = .ok, type: String) {
    self.status = status
    self.body = body
    headers = ["Content-Type": type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"]
  }

  static func text(
    _ text: String, status: HTTPResponseStatus = .ok, type: String = "text/plain; charset=utf-8"
  ) -> AdminResponse {
    AdminResponse(ByteBuffer(string: text), status: status, type: type)
  }

  static func page(_ html: String) -> AdminResponse {
    var response = text(html, type: "text/html; charset=utf-8")
    response.headers.add(name: "Content-Security-Policy", value: contentSecurityPolicy)
    return response
  }

  /// A file that was built into the program.
  static func file(_ bytes: [UInt8], type: String) -> AdminResponse {
    AdminResponse(ByteBuffer(bytes: bytes), type: type + "; charset=utf-8")
  }

  /// A value as JSON, its keys in snake case and in order.
  static func json(_ value: some Encodable) throws -> AdminResponse {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return AdminResponse(ByteBuffer(bytes: try encoder.encode(value)), type: "application/json")
  }

  /// `{"error":{"message":…}}`, as clients of JSON expect it.
  static func failure(_ status: HTTPResponseStatus, _ message: String) -> AdminResponse {
    struct Failure: Encodable {
      struct Reason: Encodable { var message: String }
      var error: Reason
    }
    var response =
      (try? json(Failure(error: .init(message: message)))) ?? AdminResponse(ByteBuffer(), type: "application/json")
    response.status = status
    return response
  }

  /// The head of the answer as it is sent.
  func head(of version: HTTPVersion, isKeepAlive: Bool, unixSeconds: Int = time(nil)) -> HTTPResponseHead {
    var headers = headers
    headers.add(name: "Content-Length", value: "\(body.readableBytes)")
    headers.add(name: "Date", value: Self.date(unixSeconds))
    if !isKeepAlive {
      headers.add(name: "Connection", value: "close")
    } else if version == .http1_0 {
      headers.add(name: "Connection", value: "keep-alive")
    }
    return HTTPResponseHead(version: .http1_1, status: status, headers: headers)
  }

  /// A date as HTTP writes it (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
  static func date(_ unixSeconds: Int) -> String {
    var seconds = unixSeconds
    var fields = tm()
    gmtime_r(&seconds, &fields)
    return String(unsafeUninitializedCapacity: 32) { room in
      // The process keeps the locale "C", whose names of days and months these are.
      room.withMemoryRebound(to: CChar.self) {
        strftime($0.baseAddress, $0.count, "%a, %d %b %Y %H:%M:%S GMT", &fields)
      }
    }
  }
}
