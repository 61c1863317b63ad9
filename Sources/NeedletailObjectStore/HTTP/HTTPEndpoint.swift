internal import NeedletailCore

/// Scheme, host and port of a server of HTTP.
public struct HTTPEndpoint: Hashable, Sendable, CustomStringConvertible {
  public var isEncrypted: Bool
  /// A name or a numeric address, without brackets.
  public var host: String
  public var port: Int

  /// Reads `https://s3.eu-west-1.amazonaws.com`, `http://127.0.0.1:9000`, `http://[::1]:9000`.
  ///
  /// - Throws: `.configuration` for anything else, a path included.
  public init(_ text: String) throws(ObjectStoreError) {
    var rest = Substring(text)
    func wrong() -> ObjectStoreError {
      ObjectStoreError(
        .configuration, "expected an address such as https://example.org:9000, found \(text.quotedForMessage)")
    }
    if rest.hasPrefix("https://") {
      isEncrypted = true
      rest = rest.dropFirst(8)
    } else if rest.hasPrefix("http://") {
      isEncrypted = false
      rest = rest.dropFirst(7)
    } else {
      throw wrong()
    }
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    port = isEncrypted ? 443 : 80
    var hostText = rest
    if let colon = rest.lastIndex(of: ":"), !rest.hasSuffix("]") {
      let digits = rest[rest.index(after: colon)...]
      guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(digits), (1...65_535).contains(number)
      else { throw wrong() }
      port = number
      hostText = rest[..<colon]
    }
    if hostText.hasPrefix("["), hostText.hasSuffix("]") { hostText = hostText.dropFirst().dropLast() }
    let isName = hostText.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: ":"):
        true
      default: false
      }
    }
    guard !hostText.isEmpty, isName else { throw wrong() }
    host = String(hostText)
  }

  /// Value of the field `Host`: without the port where it is that of the scheme.
  package var hostHeader: String {
    let name = host.contains(":") ? "[\(host)]" : host
    return port == (isEncrypted ? 443 : 80) ? name : "\(name):\(port)"
  }

  /// Whether only this machine can be behind it.
  package var isLoopback: Bool {
    host == "localhost" || host == "::1" || (host.hasPrefix("127.") && host.split(separator: ".").count == 4)
  }

  public var description: String { "\(isEncrypted ? "https" : "http")://\(hostHeader)" }
}
