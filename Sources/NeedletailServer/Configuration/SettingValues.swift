internal import NeedletailCore

/// Reads the texts of settings as what they are; errors name source, expected and found.
struct SettingValues {
  private let byKey: [String: ResolvedSetting]

  init(_ resolved: [ResolvedSetting]) {
    byKey = Dictionary(uniqueKeysWithValues: resolved.map { ($0.setting.key, $0) })
  }

  func path(_ setting: Setting) throws(ConfigurationError) -> String? { byKey[setting.key]?.text }

  func address(_ setting: Setting) throws(ConfigurationError) -> ListenAddress? {
    let text = try self.text(setting)
    if text == "none" { return nil }
    guard let address = ListenAddress(text: text) else {
      throw wrong(setting, expected: "HOST:PORT, [IPV6]:PORT or none")
    }
    return address
  }

  func flag(_ setting: Setting) throws(ConfigurationError) -> Bool {
    switch try text(setting).lowercased() {
    case "true", "yes", "on", "1": return true
    case "false", "no", "off", "0": return false
    default: throw wrong(setting, expected: "true or false")
    }
  }

  func integer(_ setting: Setting) throws(ConfigurationError) -> Int {
    guard case .integer(let range) = setting.kind else { preconditionFailure("\(setting.key) is no integer") }
    // 16_777_216 is how people write large numbers in YAML.
    guard let value = Int(try text(setting).filter { $0 != "_" }), range.contains(value) else {
      throw wrong(setting, expected: "an integer from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func seconds(_ setting: Setting) throws(ConfigurationError) -> Duration {
    guard case .seconds(let range) = setting.kind else { preconditionFailure("\(setting.key) is no time") }
    guard let value = Double(try text(setting)), range.contains(value) else {
      throw wrong(setting, expected: "seconds from \(range.lowerBound) to \(range.upperBound)")
    }
    return .nanoseconds(Int64(value * 1e9))
  }

  func choice(_ setting: Setting) throws(ConfigurationError) -> String {
    guard case .choice(let words) = setting.kind else { preconditionFailure("\(setting.key) is no choice") }
    let text = try text(setting)
    guard words.contains(text) else {
      throw wrong(
        setting, expected: "one of \(words.joined(separator: ", "))", clause: Suggestion.clause(for: text, among: words)
      )
    }
    return text
  }

  private func text(_ setting: Setting) throws(ConfigurationError) -> String {
    guard let text = byKey[setting.key]?.text else { throw wrong(setting, expected: "a value") }
    return text
  }

  private func wrong(_ setting: Setting, expected: String, clause: String = "") -> ConfigurationError {
    let resolved = byKey[setting.key]
    let place = resolved.map { $0.source == .fallback ? setting.key : "\($0.source): \(setting.key)" } ?? setting.key
    let found = resolved?.text.map(\.quotedForMessage) ?? "nothing"
    return ConfigurationError("\(place): expected \(expected), found \(found)\(clause)")
  }
}
