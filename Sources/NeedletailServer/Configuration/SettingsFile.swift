internal import FoundationEssentials
internal import NeedletailCore
internal import NeedletailYAML

/// A configuration file (YAML), flattened: `limits: {frame_bytes_max: 1}` becomes
/// `limits.frame_bytes_max`, with the line it stands on.
struct SettingsFile {
  struct Entry {
    let text: String
    let line: Int
  }

  let path: String
  private(set) var entries: [String: Entry] = [:]

  /// Reads the file.
  /// - Throws: an error that names file and line, for a file that cannot be read or a key that no setting has.
  init(path: String) throws(ConfigurationError) {
    let text: String
    do {
      text = try String(contentsOf: URL(fileURLWithPath: path), encoding: .utf8)
    } catch {
      throw ConfigurationError("configuration file \(path): expected readable UTF-8 text, found none")
    }
    try self.init(path: path, yaml: text)
  }

  init(path: String, yaml: String) throws(ConfigurationError) {
    self.path = path
    do throws(YAMLError) {
      try flatten(YAMLNode.parse(yaml, file: path))
    } catch {
      throw ConfigurationError(error.description)
    }
  }

  private mutating func flatten(_ node: YAMLNode) throws(YAMLError) {
    for entry in try node.entries() {
      let key = entry.value.path
      if case .mapping = entry.value.content {
        guard ServerSetting.all.contains(where: { $0.key.hasPrefix(key + ".") }) else { throw unknown(entry) }
        try flatten(entry.value)
        continue
      }
      guard ServerSetting.all.contains(where: { $0.key == key }) else { throw unknown(entry) }
      // `unix:` and `unix: null` leave a setting unset.
      if entry.value.isNull { continue }
      entries[key] = Entry(text: try entry.value.text(), line: entry.key.place.line ?? 0)
    }
  }

  private func unknown(_ entry: YAMLNode.Entry) -> YAMLError {
    let key = entry.value.path
    let sections = Set(
      ServerSetting.all.compactMap { setting in setting.key.firstIndex(of: ".").map { String(setting.key[..<$0]) } })
    if sections.contains(key) { return entry.value.wrong(expected: "settings below it", found: "a value") }
    // A key may be mistyped, or be under the wrong section: then its last word is known.
    let moved = ServerSetting.all.first { $0.key.hasSuffix(".\(entry.word)") }?.key
    let hint =
      moved.map { ", did you mean \($0.quotedForMessage)?" }
      ?? Suggestion.clause(for: key, among: ServerSetting.all.map(\.key) + sections)
    return YAMLError(entry.key.place, expected: "a setting", found: key.quotedForMessage, hint: hint)
  }
}

/// The reason why a configuration is refused: one sentence that says where the value came from, what was expected and
/// what was found.
public struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
  public let message: String
  /// Whether another attempt may succeed without a change of the configuration, such as once an address is free.
  public let mayPass: Bool

  public init(_ message: String, mayPass: Bool = false) {
    self.message = message
    self.mayPass = mayPass
  }

  public var description: String { message }
}
