internal import NeedletailCore

/// A place in an S3-compatible object store, as `--store` names it:
/// `s3://BUCKET/PREFIX?endpoint=https://s3.example.org&region=eu-west-1`.
///
/// | option | value | default |
/// |---|---|---|
/// | `endpoint` | address of the store | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else that of AWS in the region |
/// | `region` | region that signatures name | `AWS_REGION`, `AWS_DEFAULT_REGION`, else `us-east-1` |
/// | `addressing` | `path` or `virtual` (bucket in the host name) | `virtual` at AWS, else `path` |
/// | `ca` | PEM file of those who may issue the store's certificate | `AWS_CA_BUNDLE`, else the system's |
/// | `profile` | section of the shared credentials file | `AWS_PROFILE`, else `default` |
/// | `instance_metadata` | `on` asks the machine's metadata service for credentials | `off` |
/// | `conditional` | `off` for stores without conditional writes | `on` |
/// | `plaintext` | `on` allows an `http` endpoint beyond loopback | `off` |
public struct ObjectStoreLocation: Hashable, Sendable {
  public let bucket: String
  /// Path below which models lie, without slashes at its ends; empty: the bucket's top.
  public let prefix: String
  public let endpoint: HTTPEndpoint
  public let region: String
  /// Whether the bucket stands in the host name instead of the path.
  public let isVirtualHosted: Bool
  /// PEM file of authorities; nil: those that the system trusts.
  public let authorities: String?
  public let profile: String
  public let asksInstanceMetadata: Bool
  /// Whether a write says that it must not replace anything, and the store obeys.
  public let writesConditionally: Bool

  private static let prefixBytesMax = 512
  private static let options = [
    "endpoint", "region", "addressing", "ca", "profile", "instance_metadata", "conditional", "plaintext",
  ]

  /// Whether a text names an object store and not a directory.
  public static func isLocation(_ text: String) -> Bool { text.hasPrefix("s3://") }

  /// - Parameter environment: variables that stand in for options which are not named.
  /// - Throws: `.configuration` that names the option.
  public init(_ text: String, environment: [String: String]) throws(ObjectStoreError) {
    func wrong(_ expected: String, _ found: String) -> ObjectStoreError {
      ObjectStoreError(.configuration, "\(text.quotedForMessage): expected \(expected), found \(found)")
    }
    guard Self.isLocation(text) else { throw wrong("s3://BUCKET/PREFIX", "something else") }
    let parts = text.dropFirst(5).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let path = parts[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    bucket = String(path[0])
    guard Self.isBucketName(bucket) else {
      throw wrong("a bucket's name of 3 to 63 lower-case letters, digits, dots and hyphens", bucket.quotedForMessage)
    }
    var prefix = path.count > 1 ? path[1] : ""
    while prefix.hasSuffix("/") { prefix = prefix.dropLast() }
    let isPath =
      prefix.isEmpty
      || prefix.split(separator: "/", omittingEmptySubsequences: false)
        .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    guard prefix.utf8.count <= Self.prefixBytesMax, isPath,
      prefix.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
    else { throw wrong("a prefix such as models/production", prefix.quotedForMessage) }
    self.prefix = String(prefix)

    var options: [String: String] = [:]
    for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
      let words = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard words.count == 2, let value = PercentEncoding.decode(words[1]), !value.isEmpty else {
        throw wrong("options NAME=VALUE", pair.quotedForMessage)
      }
      let name = String(words[0])
      guard Self.options.contains(name) else {
        throw wrong(
          "options \(Self.options.joined(separator: ", "))",
          name.quotedForMessage + Suggestion.clause(for: name, among: Self.options))
      }
      guard options.updateValue(value, forKey: name) == nil else { throw wrong("\(name) once", "it twice") }
    }
    func variable(_ names: String...) -> String? { names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty } }
    func flag(_ name: String, _ fallback: Bool) throws(ObjectStoreError) -> Bool {
      switch options[name] {
      case nil: return fallback
      case "on": return true
      case "off": return false
      case let found?: throw wrong("\(name)=on or off", found.quotedForMessage)
      }
    }
    let region = options["region"] ?? variable("AWS_REGION", "AWS_DEFAULT_REGION") ?? "us-east-1"
    guard (1...64).contains(region.utf8.count),
      region.utf8.allSatisfy({ $0 == UInt8(ascii: "-") || (48...57).contains($0) || (97...122).contains($0) })
    else { throw wrong("a region such as eu-west-1", region.quotedForMessage) }
    self.region = region
    let named = options["endpoint"] ?? variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    let domain = region.hasPrefix("cn-") ? "amazonaws.com.cn" : "amazonaws.com"
    var endpoint = try HTTPEndpoint(named ?? "https://s3.\(region).\(domain)")
    let allowsPlaintext = try flag("plaintext", false)
    guard endpoint.isEncrypted || endpoint.isLoopback || allowsPlaintext else {
      throw wrong("an https endpoint, one of this machine, or plaintext=on", "\(endpoint)")
    }
    switch options["addressing"] {
    // A certificate for all buckets, *.s3.…, holds for names without dots only.
    case nil: isVirtualHosted = named == nil && !bucket.contains(".")
    case "virtual": isVirtualHosted = true
    case "path": isVirtualHosted = false
    case let found?: throw wrong("addressing=path or virtual", found.quotedForMessage)
    }
    if isVirtualHosted { endpoint.host = "\(bucket).\(endpoint.host)" }
    self.endpoint = endpoint
    authorities = options["ca"] ?? variable("AWS_CA_BUNDLE")
    profile = options["profile"] ?? variable("AWS_PROFILE") ?? "default"
    asksInstanceMetadata = try flag("instance_metadata", false)
    writesConditionally = try flag("conditional", true)
  }

  /// The place without its options, for people: `s3://bucket/prefix`.
  public var name: String { prefix.isEmpty ? "s3://\(bucket)" : "s3://\(bucket)/\(prefix)" }

  /// The full key of an object below the prefix.
  func key(_ path: String) -> String { prefix.isEmpty ? path : "\(prefix)/\(path)" }

  /// Percent-encoded path of a request for an object; an empty key is the bucket itself.
  func target(_ key: String) -> String {
    let path = PercentEncoding.encode(key, keepingSlashes: true)
    return isVirtualHosted ? "/\(path)" : path.isEmpty ? "/\(bucket)" : "/\(bucket)/\(path)"
  }

  private static func isBucketName(_ name: String) -> Bool {
    let isPlain = { (byte: UInt8) in (48...57).contains(byte) || (97...122).contains(byte) }
    guard (3...63).contains(name.utf8.count), let first = name.utf8.first, let last = name.utf8.last else {
      return false
    }
    return isPlain(first) && isPlain(last)
      && name.utf8.allSatisfy { isPlain($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }
  }
}
