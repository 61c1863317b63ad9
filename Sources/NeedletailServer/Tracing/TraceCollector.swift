internal import NeedletailCore
internal import NeedletailObjectStore
internal import NeedletailSystem

/// A collector that takes spans by OTLP over HTTP, with protobuf as it goes on the wire.
///
/// Source: OpenTelemetry Protocol Specification 1.x, OTLP/HTTP: path `/v1/traces` below the address; statuses 429, 502, 503
/// and 504 may be tried again, after `Retry-After` where it is given.
struct TraceCollector: Sendable {
  private let client: HTTPClient
  private let path: String
  private let headers: [(name: String, value: String)]

  /// Address as errors name it.
  var name: String { "\(client.endpoint)\(path)" }

  /// - Parameters:
  ///   - address: `http://HOST:PORT`, `https://HOST/PREFIX`, or with `/v1/traces` at its end.
  ///   - headers: fields of each request beside those that it needs, such as a key.
  ///   - authorities: PEM file of those who issue certificates; nil: those that the system trusts.
  init(
    _ address: String, headers: [(name: String, value: String)], authorities: String?
  ) throws(ConfigurationError) {
    let afterScheme = address.firstRange(of: "://")?.upperBound ?? address.startIndex
    let slash = address[afterScheme...].firstIndex(of: "/") ?? address.endIndex
    var prefix = String(address[slash...])
    while prefix.hasSuffix("/") { prefix.removeLast() }
    guard prefix.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") })
    else {
      throw ConfigurationError(
        "tracing.endpoint: expected an address without a query, found \(address.quotedForMessage)")
    }
    path = prefix.hasSuffix("/v1/traces") ? prefix : prefix + "/v1/traces"
    do throws(ObjectStoreError) {
      client = try HTTPClient(HTTPEndpoint(String(address[..<slash])), authorities: authorities)
    } catch {
      throw ConfigurationError("tracing.endpoint: \(error.message)")
    }
    guard headers.isEmpty || client.endpoint.isEncrypted || client.endpoint.isLoopback else {
      throw ConfigurationError(
        "tracing.headers_file: expected https in tracing.endpoint, for its values are secret; found \(client.endpoint)")
    }
    self.headers = headers
  }

  /// Answer to an export.
  struct Answer {
    var result: ExportSchedule.Result
    /// Spans that were not taken although the rest was.
    var rejectedSpans: UInt64 = 0
    /// What went wrong; empty where nothing did.
    var reason = ""
  }

  /// Sends an `ExportTraceServiceRequest`. It blocks until the answer is there, or time is up.
  func send(_ request: [UInt8], deadline: Instant) -> Answer {
    let http = HTTPRequest(
      method: "POST", target: path,
      headers: [
        ("host", client.endpoint.hostHeader), ("content-type", "application/x-protobuf"),
        ("user-agent", "needletail/\(needletailVersion)"),
      ] + headers, body: request[...])
    do throws(ObjectStoreError) {
      let response = try client.send(http, deadline: deadline)
      switch response.head.status {
      case 200..<300:
        let (spans, reason) = SpanEncoder.rejected(by: response.body)
        return Answer(result: .taken, rejectedSpans: spans, reason: reason)
      case 429, 502, 503, 504:
        return Answer(
          result: .failed(retryAfterSeconds: response.head["retry-after"].flatMap { Int($0) }),
          reason: "\(name): expected status 200, found \(response.head.status)")
      default:
        return Answer(result: .refused, reason: "\(name): expected status 200, found \(response.head.status)")
      }
    } catch {
      return Answer(result: error.isTransient ? .failed(retryAfterSeconds: nil) : .refused, reason: error.message)
    }
  }
}
