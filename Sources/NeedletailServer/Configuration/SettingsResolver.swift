internal import Configuration
internal import NeedletailCore

/// Where the value of a setting came from.
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
  public let setting: Setting
  /// Nil where nobody set it and it has no default.
  public let text: String?
  public let source: SettingSource
}

/// Asks flags, then the environment, then the configuration file, then the defaults.
public struct SettingsResolver: Sendable {
  public let resolved: [ResolvedSetting]
  /// Sentences about what looks like a mistake and is none for certain.
  public let warnings: [String]

  /// - Parameters:
  ///   - flags: texts by setting key.
  ///   - environment: of the process; only names that start with `NEEDLETAIL_` matter.
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
    let providers: [(provider: any ConfigProvider, source: (Setting) -> SettingSource)] = [
      (Self.provider("flags", flags), { .flag($0.flag ?? $0.key) }),
      (
        EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "needletail"),
        { .environment($0.environmentName) }
      ),
      (
        Self.provider("file", settingsFile?.entries.mapValues(\.text) ?? [:]),
        { .file(path: settingsFile?.path ?? "", line: settingsFile?.entries[$0.key]?.line ?? 0) }
      ),
    ]
    var resolved: [ResolvedSetting] = []
    for setting in Setting.all {
      var found = ResolvedSetting(setting: setting, text: setting.defaultText, source: .fallback)
      for (provider, source) in providers {
        guard let text = Self.text(of: setting, from: provider) else { continue }
        found = ResolvedSetting(setting: setting, text: text, source: source(setting))
        break
      }
      resolved.append(found)
    }
    self.resolved = resolved
    warnings = Self.warnings(about: environment)
  }

  private static func provider(_ name: String, _ texts: [String: String]) -> InMemoryProvider {
    InMemoryProvider(
      name: name,
      values: Dictionary(
        uniqueKeysWithValues: texts.map {
          (
            AbsoluteConfigKey($0.key.split(separator: ".").map(String.init)),
            ConfigValue(.string($0.value), isSecret: false)
          )
        }))
  }

  private static func text(of setting: Setting, from provider: any ConfigProvider) -> String? {
    let key = AbsoluteConfigKey(setting.key.split(separator: ".").map(String.init))
    guard case .string(let text)? = try? provider.value(forKey: key, type: .string).value?.content else { return nil }
    // An empty variable is how shells unset one.
    return text.isEmpty ? nil : text
  }

  /// What the clients read, close to some of ours.
  private static let clientNames = [
    "NEEDLETAIL_SERVER", "NEEDLETAIL_API_KEY", "NEEDLETAIL_API_KEY_FILE", "NEEDLETAIL_TLS_CA",
  ]

  /// A variable that no setting reads may be a typing mistake, or belong to somebody else: container
  /// platforms put `NEEDLETAIL_PORT` and the like into the environment of every neighbour.
  private static func warnings(about environment: [String: String]) -> [String] {
    let known = Setting.all.map(\.environmentName) + ["NEEDLETAIL_CONFIG", "NEEDLETAIL_ISA"] + clientNames
    return environment.keys.filter { $0.hasPrefix("NEEDLETAIL_") && !known.contains($0) }.sorted().compactMap { name in
      Suggestion.nearest(to: name, among: known).map {
        "environment variable \(name) is no setting, did you mean \($0)?"
      }
    }
  }
}
