internal import NeedletailCore

/// The source of a setting's value.
public enum SettingSource: Equatable, Sendable, CustomStringConvertible {
  case flag(String)
  case environment(String)
  case file(path: String, line: Int)
  case fallback

  public var description: String {
    switch self {
    case .flag(let name): "--\(name)"
    case .environment(let name): name
    case .file(let path, let line): "\(path):\(line)"
    case .fallback: "default"
    }
  }
}

/// The value of one setting with its source.
public struct ResolvedSetting: Sendable {
  public let setting: ServerSetting
  /// Text of the value; nil for a setting that is not set and has no default.
  public let text: String?
  public let source: SettingSource
}

/// The settings with their values, taken from flags, else the environment, else the configuration file, else the
/// defaults.
public struct SettingsResolver: Sendable {
  public let resolved: [ResolvedSetting]
  /// Sentences about settings that may be mistakes.
  public let warnings: [String]

  /// - Parameters:
  ///   - flags: texts by setting key.
  ///   - environment: variables of the process; only names that start with `NEEDLETAIL_` matter.
  ///   - file: path of a YAML file. `NEEDLETAIL_CONFIG` names one where this is nil.
  public init(flags: [String: String], environment: [String: String], file: String?) throws(ConfigurationError) {
    let path = file ?? environment["NEEDLETAIL_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
    var settingsFile: SettingsFile?
    if let path { settingsFile = try SettingsFile(path: path) }
    try self.init(flags: flags, environment: environment, settingsFile: settingsFile)
  }

  init(flags: [String: String], environment: [String: String], settingsFile: SettingsFile?)
    throws(ConfigurationError)
  {
    let layers: [(text: (ServerSetting) -> String?, source: (ServerSetting) -> SettingSource)] = [
      ({ flags[$0.key] }, { .flag($0.flag ?? $0.key) }),
      ({ environment[$0.environmentName] }, { .environment($0.environmentName) }),
      (
        { settingsFile?.entries[$0.key]?.text },
        { .file(path: settingsFile?.path ?? "", line: settingsFile?.entries[$0.key]?.line ?? 0) }
      ),
    ]
    var resolved: [ResolvedSetting] = []
    for setting in ServerSetting.all {
      var found = ResolvedSetting(setting: setting, text: setting.defaultText, source: .fallback)
      // An empty text counts as none: shells unset a variable by emptying it.
      for layer in layers {
        guard let text = layer.text(setting), !text.isEmpty else { continue }
        found = ResolvedSetting(setting: setting, text: text, source: layer.source(setting))
        break
      }
      resolved.append(found)
    }
    self.resolved = resolved
    warnings = Self.warnings(about: environment)
  }

  private static let prefix = "NEEDLETAIL_"

  /// Variables of the clients, whose names are close to some of the server's.
  private static let clientNames = [
    "NEEDLETAIL_SERVER", "NEEDLETAIL_API_KEY", "NEEDLETAIL_API_KEY_FILE", "NEEDLETAIL_TLS_CA",
  ]

  /// A variable that no setting reads may be a typing mistake, or belong to another program: container
  /// platforms put `NEEDLETAIL_PORT` and the like into the environment of every neighbour.
  private static func warnings(about environment: [String: String]) -> [String] {
    let known = ServerSetting.all.map(\.environmentName) + ["NEEDLETAIL_CONFIG", "NEEDLETAIL_ISA"] + clientNames
    // What all names have in common says nothing about how near two of them are.
    let words = known.map { String($0.dropFirst(prefix.count)) }
    return environment.keys.filter { $0.hasPrefix(prefix) && !known.contains($0) }.sorted().compactMap { name in
      let word = String(name.dropFirst(prefix.count))
      return (Suggestion.nearest(to: word, among: words).map { prefix + $0 } ?? sectioned(word)).map {
        "environment variable \(name) is no setting, did you mean \($0)?"
      }
    }
  }

  /// The variable of a setting whose section was forgotten: `NEEDLETAIL_LIMITS_CONNECTIONS_MAX` for
  /// `NEEDLETAIL_CONNECTIONS_MAX`; nil: there is none.
  private static func sectioned(_ word: String) -> String? {
    ServerSetting.all.map(\.environmentName).first { $0.hasSuffix("_" + word) }
  }
}

/// The values of settings by their types. Errors name the source, what was expected and what was found.
struct SettingValues {
  private let byKey: [String: ResolvedSetting]

  init(_ resolved: [ResolvedSetting]) {
    byKey = Dictionary(uniqueKeysWithValues: resolved.map { ($0.setting.key, $0) })
  }

  func path(_ setting: ServerSetting) throws(ConfigurationError) -> String? { byKey[setting.key]?.text }

  /// Names without the spaces around them; nil if the setting is not set.
  func names(_ setting: ServerSetting) -> [String]? {
    byKey[setting.key]?.text?.split(separator: ",", omittingEmptySubsequences: false).map {
      String($0.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
  }

  func address(_ setting: ServerSetting) throws(ConfigurationError) -> ListenAddress? {
    let text = try self.text(setting)
    if text == "none" { return nil }
    guard let address = ListenAddress(text: text) else {
      throw wrong(setting, expected: "HOST:PORT, [IPV6]:PORT or none")
    }
    return address
  }

  func flag(_ setting: ServerSetting) throws(ConfigurationError) -> Bool {
    switch try text(setting).lowercased() {
    case "true", "yes", "on", "1": return true
    case "false", "no", "off", "0": return false
    default: throw wrong(setting, expected: "true or false")
    }
  }

  func integer(_ setting: ServerSetting) throws(ConfigurationError) -> Int {
    guard case .integer(let range) = setting.kind else { preconditionFailure("\(setting.key) is no integer") }
    // 16_777_216 is how people write large numbers in YAML.
    guard let value = Int(try text(setting).filter { $0 != "_" }), range.contains(value) else {
      throw wrong(setting, expected: "an integer from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func seconds(_ setting: ServerSetting) throws(ConfigurationError) -> Duration {
    guard case .seconds(let range) = setting.kind else { preconditionFailure("\(setting.key) is no time") }
    guard let value = NumberText.parse(try text(setting)), range.contains(value) else {
      throw wrong(setting, expected: "seconds from \(range.lowerBound) to \(range.upperBound)")
    }
    return .nanoseconds(Int64(value * 1e9))
  }

  func share(_ setting: ServerSetting) throws(ConfigurationError) -> Double {
    guard let value = NumberText.parse(try text(setting)), (0...1).contains(value) else {
      throw wrong(setting, expected: "a number from 0 to 1")
    }
    return value
  }

  func choice(_ setting: ServerSetting) throws(ConfigurationError) -> String {
    guard case .choice(let words) = setting.kind else { preconditionFailure("\(setting.key) is no choice") }
    let text = try text(setting)
    guard words.contains(text) else {
      throw wrong(
        setting, expected: "one of \(words.joined(separator: ", "))", clause: Suggestion.clause(for: text, among: words)
      )
    }
    return text
  }

  /// - Returns: nil if the setting is not set.
  func permissions(_ setting: ServerSetting) throws(ConfigurationError) -> UInt32? {
    guard let text = byKey[setting.key]?.text else { return nil }
    // A sign is no digit, though Swift would read it.
    guard (3...4).contains(text.utf8.count), !text.hasPrefix("+"), let mode = UInt32(text, radix: 8), mode <= 0o777
    else {
      throw wrong(setting, expected: "octal digits from 000 to 0777, such as 0660")
    }
    return mode
  }

  /// Checks the text of one setting by its type.
  func check(_ setting: ServerSetting) throws(ConfigurationError) {
    switch setting.kind {
    // Any text is one.
    case .path, .names: break
    case .address: _ = try address(setting)
    case .flag: _ = try flag(setting)
    case .integer: _ = try integer(setting)
    case .permissions: _ = try permissions(setting)
    case .seconds: _ = try seconds(setting)
    case .share: _ = try share(setting)
    case .choice: _ = try choice(setting)
    }
  }

  private func text(_ setting: ServerSetting) throws(ConfigurationError) -> String {
    guard let text = byKey[setting.key]?.text else { throw wrong(setting, expected: "a value") }
    return text
  }

  private func wrong(_ setting: ServerSetting, expected: String, clause: String = "") -> ConfigurationError {
    let resolved = byKey[setting.key]
    let place = resolved.map { $0.source == .fallback ? setting.key : "\($0.source): \(setting.key)" } ?? setting.key
    let found = resolved?.text.map(\.quotedForMessage) ?? "nothing"
    return ConfigurationError("\(place): expected \(expected), found \(found)\(clause)")
  }
}

extension SettingsResolver {
  /// All settings as a YAML file that gives the same configuration; a comment behind each value says
  /// where it came from.
  public var yaml: String {
    var lines: [String] = ["# needletail-server: flags, then environment, then file, then defaults."]
    var section = ""
    for item in resolved {
      let parts = item.setting.key.split(separator: ".").map(String.init)
      let isNested = parts.count > 1
      if isNested, parts[0] != section {
        // A section in which nothing is set would be none when it is read.
        let isSet = resolved.contains { $0.text != nil && $0.setting.key.hasPrefix("\(parts[0]).") }
        lines.append(isSet ? "\(parts[0]):" : "# \(parts[0]):")
      }
      section = isNested ? parts[0] : ""
      let indent = isNested ? "  " : ""
      lines.append("\(indent)# \(item.setting.summary).")
      guard let text = item.text, let name = parts.last else {
        lines.append("\(indent)# \(parts.last ?? item.setting.key):   # not set")
        continue
      }
      lines.append("\(indent)\(name): \(Self.scalar(text, kind: item.setting.kind))   # \(item.source)")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// A value in YAML: numbers and flags plain, texts in quotes, because a path may look like anything.
  private static func scalar(_ text: String, kind: ServerSetting.Kind) -> String {
    switch kind {
    case .flag, .integer, .seconds, .share, .choice: return text
    case .path, .address, .names, .permissions:
      var quoted = "\""
      for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": quoted += "\\\""
        case "\\": quoted += "\\\\"
        case "\n": quoted += "\\n"
        case "\t": quoted += "\\t"
        default:
          if scalar.value < 0x20 || scalar.value == 0x7F {
            let digits = String(scalar.value, radix: 16)
            quoted += "\\x" + (digits.count == 1 ? "0" : "") + digits
          } else {
            quoted.unicodeScalars.append(scalar)
          }
        }
      }
      return quoted + "\""
    }
  }
}
