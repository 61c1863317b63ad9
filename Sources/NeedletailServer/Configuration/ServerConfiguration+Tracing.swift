internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSystem

/// The collector of traced calls, and which calls are traced.
public struct TracingOptions: Sendable, Equatable {
  /// Address of the collector, as OTLP over HTTP has it: `http://127.0.0.1:4318`.
  public var endpoint: String
  /// Part of the calls without a `traceparent` that are traced, 0 to 1.
  public var rate = 0.0
  /// Name of this server in its spans.
  public var service = "needletail"
  /// File of HTTP fields for the collector, such as a key; nil: there are none.
  public var headers: String?
  /// PEM file of those who issue the collector's certificate; nil: those that the system trusts.
  public var authorities: String?

  public init(endpoint: String) { self.endpoint = endpoint }

  /// Reads the files and makes the way to the collector, without asking it anything.
  /// - Throws: a sentence about the setting that cannot be used.
  func collector() throws(ConfigurationError) -> TraceCollector {
    try TraceCollector(endpoint, headers: headers.map(Self.readHeaders) ?? [], authorities: authorities)
  }

  /// Makes what exports.
  /// - Parameter report: see ``TraceService``.
  func makeService(
    _ metrics: MetricsRegistry, report: @escaping @Sendable (String) -> Void
  ) throws(ConfigurationError) -> TraceService {
    TraceService(try collector(), service: service, rate: rate, metrics: metrics, report: report)
  }

  /// Reads lines of the form `NAME: VALUE`. Empty lines and those that begin with # are passed over.
  static func readHeaders(path: String) throws(ConfigurationError) -> [(name: String, value: String)] {
    let place = "tracing.headers_file \(path)"
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(path, bytesMax: Limits.traceHeadersBytesMax)
    } catch {
      throw ConfigurationError("\(place): \(Self.reason(error))")
    }
    guard let text else { throw ConfigurationError("\(place): expected UTF-8, found something else") }
    var headers: [(name: String, value: String)] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let content = line.trimmed
      guard !content.isEmpty, !content.hasPrefix("#") else { continue }
      guard let colon = content.firstIndex(of: ":"), colon != content.startIndex,
        content[..<colon].utf8.allSatisfy(Self.isNameByte),
        content.utf8.allSatisfy({ ($0 >= 0x20 && $0 < 0x7F) || $0 == 0x09 })
      else {
        // The line may hold a key and is not repeated.
        throw ConfigurationError("\(place), line \(index + 1): expected NAME: VALUE, found something else")
      }
      let name = content[..<colon].lowercased()
      guard !["host", "content-type", "content-length", "transfer-encoding", "connection", "user-agent"].contains(name)
      else { throw ConfigurationError("\(place), line \(index + 1): expected a field of the collector, found \(name)") }
      headers.append((name, String(content[content.index(after: colon)...].trimmed)))
    }
    return headers
  }

  private static func reason(_ error: FileReadError) -> String {
    switch error {
    case .missing: "expected a file, found none"
    case .notARegularFile: "expected a regular file, found something else"
    case .tooLong(let bytesMax): "expected at most \(bytesMax) bytes, found more"
    case .system(let error): "\(error)"
    }
  }

  /// Whether a byte may stand in a field's name (RFC 9110, 5.6.2).
  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
}

extension Substring {
  /// The text without the spaces, tabs and carriage returns around it.
  fileprivate var trimmed: Substring {
    let isBlank = { (character: Character) in character == " " || character == "\t" || character == "\r" }
    var rest = drop(while: isBlank)
    while let last = rest.last, isBlank(last) { rest.removeLast() }
    return rest
  }
}

extension ServerConfiguration {
  static func tracing(_ values: SettingValues) throws(ConfigurationError) -> TracingOptions? {
    let headers = try values.path(.tracingHeaders)
    let authorities = try values.path(.tracingAuthorities)
    let rate = try values.share(.tracingRate)
    guard let endpoint = try values.path(.tracingEndpoint) else {
      for (name, isSet) in [
        ("tracing.headers_file", headers != nil), ("tracing.ca_file", authorities != nil), ("tracing.rate", rate > 0),
      ] where isSet {
        throw ConfigurationError("\(name): expected --tracing-endpoint beside it, found none")
      }
      return nil
    }
    var options = TracingOptions(endpoint: endpoint)
    options.rate = rate
    options.service = try values.path(.tracingService) ?? options.service
    options.headers = headers
    options.authorities = authorities
    return options
  }
}
