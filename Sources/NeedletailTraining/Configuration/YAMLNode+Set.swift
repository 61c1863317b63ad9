internal import NeedletailCore
internal import NeedletailYAML

/// What the user wrote: the run file with the `--set`s laid over it.
extension YAMLNode {
  /// The value under a path of keys, if the user gave one.
  func value(at path: [String]) -> YAMLNode? {
    guard let key = path.first else { return self }
    guard case .mapping(let entries) = content else { return nil }
    return entries.first { $0.word == key }?.value.value(at: Array(path.dropFirst()))
  }

  /// Lays `a.b=c` over the tree. A key that contains a dot stands in double quotes.
  mutating func set(_ assignment: String) throws(YAMLError) {
    guard let equals = assignment.firstIndex(of: "=") else {
      throw YAMLError(YAMLPlace("--set \(assignment)"), expected: "key.key=value", found: "no \"=\"")
    }
    let pathText = String(assignment[..<equals])
    let place = YAMLPlace("--set \(pathText)")
    let path = Self.keys(of: pathText)
    guard path.count < Limits.yamlDepthMax, path.allSatisfy({ !$0.isEmpty }) else {
      throw YAMLError(place, expected: "keys separated by dots", found: pathText.quotedForMessage)
    }
    let text = String(assignment[assignment.index(after: equals)...])
    put(try .parse(text, at: place, path: path.joined(separator: ".")), at: path[...])
  }

  private mutating func put(_ value: YAMLNode, at path: ArraySlice<String>) {
    guard let word = path.first else {
      self = value
      return
    }
    var entries: [Entry] = []
    if case .mapping(let existing) = content { entries = existing }
    let index = entries.firstIndex { $0.word == word } ?? entries.count
    if index == entries.count {
      let key = YAMLNode(.scalar(word, isPlain: false), place: value.place, path: self.path)
      entries.append(Entry(key: key, value: YAMLNode(.mapping([]), place: value.place, path: self.path(of: word))))
    }
    entries[index].value.put(value, at: path.dropFirst())
    if path.count == 1 { entries[index].key.place = value.place }
    content = .mapping(entries)
  }

  private static func keys(of path: String) -> [String] {
    var keys = [""]
    var isQuoted = false
    for character in path {
      switch character {
      case "\"": isQuoted.toggle()
      case "." where !isQuoted: keys.append("")
      default: keys[keys.count - 1].append(character)
      }
    }
    return keys
  }
}
