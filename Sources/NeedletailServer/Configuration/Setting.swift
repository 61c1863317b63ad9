/// One thing that can be configured: its key, how its text is read, its default and its explanation.
///
/// Flags, environment variables, `--print-config`, validation and the check for unknown keys all derive
/// from the table ``Setting/all``.
public struct Setting: Sendable {
  /// How the text of a value is read.
  public enum Kind: Sendable {
    case path
    /// `host:port`, `[v6]:port`, or `none`.
    case address
    case flag
    case integer(ClosedRange<Int>)
    /// Decimal seconds.
    case seconds(ClosedRange<Double>)
    case choice([String])
  }

  /// Dotted, as it nests in YAML: `limits.frame_bytes_max`.
  public let key: String
  public let kind: Kind
  /// As text; nil where nothing is set unless somebody sets it.
  public let defaultText: String?
  /// Without dashes; nil where there is none.
  public let flag: String?
  /// One line for people.
  public let summary: String

  init(_ key: String, _ kind: Kind, default defaultText: String? = nil, flag: String? = nil, _ summary: String) {
    self.key = key
    self.kind = kind
    self.defaultText = defaultText
    self.flag = flag
    self.summary = summary
  }

  /// `NEEDLETAIL_LIMITS_FRAME_BYTES_MAX` for `limits.frame_bytes_max`.
  public var environmentName: String {
    "NEEDLETAIL_"
      + String(key.map { $0.isLetter || $0.isNumber ? Character($0.uppercased()) : "_" })
  }

  /// What stands behind the flag in `--help`.
  public var help: String {
    let fallback = defaultText.map { " (default: \($0))" } ?? ""
    return "\(summary)\(fallback) [\(environmentName)]"
  }
}
