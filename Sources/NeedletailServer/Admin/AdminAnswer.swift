internal import Hummingbird
internal import NIOCore
internal import NeedletailCore

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Answers of the admin port, by what is in them.
enum AdminAnswer {
  /// The page may load its own two files and ask its own server, and nothing else; nobody may frame it.
  static let contentSecurityPolicy = [
    "default-src 'none'", "style-src 'self'", "script-src 'self'", "connect-src 'self'", "img-src data:",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  ].joined(separator: "; ")

  static func text(
    _ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8"
  ) -> Response {
    response(ByteBuffer(string: text), status: status, type: type)
  }

  static func page(_ html: String) -> Response {
    var response = text(html, type: "text/html; charset=utf-8")
    response.headers[.contentSecurityPolicy] = contentSecurityPolicy
    return response
  }

  /// A file that was built in.
  static func file(_ bytes: [UInt8], type: String) -> Response {
    response(ByteBuffer(bytes: bytes), type: type + "; charset=utf-8")
  }

  /// Keys in snake case and in order.
  static func json(_ value: some Encodable) throws -> Response {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return response(ByteBuffer(bytes: try encoder.encode(value)), type: "application/json")
  }

  private static func response(
    _ body: ByteBuffer, status: HTTPResponse.Status = .ok, type: String
  ) -> Response {
    var headers: HTTPFields = [.contentType: type, .cacheControl: "no-store"]
    headers[.xContentTypeOptions] = "nosniff"
    return Response(status: status, headers: headers, body: .init(byteBuffer: body))
  }
}

extension Request {
  /// A whole number of the query.
  /// - Throws: status 400 that names the parameter and what was found.
  func number<Number: FixedWidthInteger>(_ name: String, default standard: Number) throws(HTTPError) -> Number {
    guard let text = uri.queryParameters[Substring(name)] else { return standard }
    guard let number = Number(text), number >= 0 else {
      throw HTTPError(
        .badRequest, message: "\(name): expected a whole number, found \(String(text.prefix(64)).quotedForMessage)")
    }
    return number
  }
}
