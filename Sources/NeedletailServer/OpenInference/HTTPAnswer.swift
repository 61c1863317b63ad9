internal import NIOCore
internal import NeedletailCore

/// The head of an answer of HTTP/1.1.
enum HTTPAnswer {
  /// How the length of a body is told.
  enum Framing {
    /// Bytes of the body, and of the JSON in front of others; nil: there are none behind it.
    case length(Int, json: Int?)
    /// The body comes in chunks.
    case chunks
  }

  /// Appends a head.
  /// - Parameters:
  ///   - closes: whether the connection ends with this answer.
  ///   - allow: the method that the path has, for the answer to another one; `.delete` beside GET.
  ///   - location: path of what was made.
  static func writeHead(
    _ status: Int, _ framing: Framing, closes: Bool, retryAfterMicroseconds: UInt32 = 0,
    allow: HTTPHead.Method? = nil, location: String? = nil, to output: inout ByteBuffer
  ) {
    output.writeStaticString("HTTP/1.1 ")
    output.writeStaticString(HTTPStatus.line(status))
    if case .length(_, let json?) = framing {
      output.writeStaticString("\r\nContent-Type: application/octet-stream\r\nInference-Header-Content-Length: ")
      output.writeString(String(json))
    } else {
      output.writeStaticString("\r\nContent-Type: application/json")
    }
    if status == 401 { output.writeStaticString("\r\nWWW-Authenticate: Bearer") }
    switch allow {
    case .get: output.writeStaticString("\r\nAllow: GET, HEAD")
    case .delete: output.writeStaticString("\r\nAllow: GET, HEAD, DELETE")
    case .post, .head, .other: output.writeStaticString("\r\nAllow: POST")
    case nil: break
    }
    if let location {
      output.writeStaticString("\r\nLocation: ")
      output.writeString(location)
    }
    if retryAfterMicroseconds > 0 {
      output.writeStaticString("\r\nRetry-After: ")
      output.writeString(String((retryAfterMicroseconds + 999_999) / 1_000_000))
    }
    switch framing {
    case .length(let bytes, _):
      output.writeStaticString("\r\nContent-Length: ")
      output.writeString(String(bytes))
    case .chunks: output.writeStaticString("\r\nTransfer-Encoding: chunked")
    }
    output.writeStaticString(closes ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n")
  }
}

enum HTTPStatus {
  /// The status of an error.
  static func of(_ code: StatusCode) -> Int {
    switch code {
    case .ok: 200
    case .invalidArgument: 400
    case .unauthenticated: 401
    case .permissionDenied: 403
    case .notFound: 404
    case .unimplemented: 501
    case .overloaded, .unavailable: 503
    case .deadlineExceeded: 504
    case .internal: 500
    }
  }

  /// Code and reason of a status line.
  static func line(_ status: Int) -> StaticString {
    switch status {
    case 200: "200 OK"
    case 202: "202 Accepted"
    case 400: "400 Bad Request"
    case 401: "401 Unauthorized"
    case 403: "403 Forbidden"
    case 404: "404 Not Found"
    case 405: "405 Method Not Allowed"
    case 409: "409 Conflict"
    case 410: "410 Gone"
    case 411: "411 Length Required"
    case 413: "413 Content Too Large"
    case 415: "415 Unsupported Media Type"
    case 417: "417 Expectation Failed"
    case 431: "431 Request Header Fields Too Large"
    case 501: "501 Not Implemented"
    case 503: "503 Service Unavailable"
    case 504: "504 Gateway Timeout"
    case 505: "505 HTTP Version Not Supported"
    default: "500 Internal Server Error"
    }
  }
}
