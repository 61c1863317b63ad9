internal import NeedletailCore
internal import Yams

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// A configuration file (YAML), flattened: `limits: {frame_bytes_max: 1}` becomes
/// `limits.frame_bytes_max`, with the line it stands on.
struct SettingsFile {
  struct Entry {
    let text: String
    let line: Int
  }

  let path: String
  private(set) var entries: [String: Entry] = [:]

  /// - Throws: the file and the line of what cannot be read, or of a key that no setting has.
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
    let root: Yams.Node?
    do {
      root = try Yams.compose(yaml: yaml)
    } catch {
      throw ConfigurationError("\(path)\(Self.place(of: error))")
    }
    // An empty document, or one of comments only, sets nothing.
    guard let root, root.null == nil else { return }
    guard let mapping = root.mapping else {
      throw ConfigurationError("\(path):\(root.mark?.line ?? 1): expected a mapping of settings, found something else")
    }
    try flatten(mapping, prefix: "")
  }

  private mutating func flatten(_ mapping: Yams.Node.Mapping, prefix: String) throws(ConfigurationError) {
    for (keyNode, value) in mapping {
      let line = keyNode.mark?.line ?? 0
      guard let word = keyNode.string else {
        throw ConfigurationError("\(path):\(line): expected a word as key, found something else")
      }
      let key = prefix + word
      if let nested = value.mapping {
        guard Setting.all.contains(where: { $0.key.hasPrefix(key + ".") }) else {
          throw unknown(key, line: line)
        }
        try flatten(nested, prefix: key + ".")
        continue
      }
      guard Setting.all.contains(where: { $0.key == key }) else { throw unknown(key, line: line) }
      guard let scalar = value.scalar else {
        throw ConfigurationError("\(path):\(line): \(key): expected one value, found a list")
      }
      // `unix:` and `unix: null` say: not set.
      if value.null != nil { continue }
      entries[key] = Entry(text: scalar.string, line: line)
    }
  }

  private func unknown(_ key: String, line: Int) -> ConfigurationError {
    let sections = Set(
      Setting.all.compactMap { setting in setting.key.firstIndex(of: ".").map { String(setting.key[..<$0]) } })
    if sections.contains(key) {
      return ConfigurationError("\(path):\(line): \(key): expected settings below it, found a value")
    }
    // A key may be mistyped, or stand under the wrong section: then its last word is known.
    let word = key.split(separator: ".").last.map(String.init) ?? key
    let candidates = Setting.all.map(\.key) + sections
    let moved = Setting.all.first { $0.key.hasSuffix("." + word) }?.key
    let clause =
      moved.map { ", did you mean \($0.quotedForMessage)?" } ?? Suggestion.clause(for: key, among: candidates)
    return ConfigurationError("\(path):\(line): unknown setting \(key.quotedForMessage)\(clause)")
  }

  private static func place(of error: any Error) -> String {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      ":\(mark.line): not YAML: \(problem)"
    case .duplicatedKeysInMapping(let duplicates, let context):
      ":\(context.mark.line): key given twice: \(duplicates.joined(separator: ", "))"
    default: ": not YAML"
    }
  }
}
