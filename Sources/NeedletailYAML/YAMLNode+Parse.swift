internal import NeedletailCore
internal import Yams

extension YAMLNode {
  /// Parses one document. A document that is empty, or holds only comments, is null.
  /// - Throws: A ``YAMLError`` if the text is not YAML, has a key twice, or grows by aliases beyond its bound.
  public static func parse(_ text: String, file: String) throws(YAMLError) -> YAMLNode {
    try parse(text, path: "") { line in YAMLPlace(file, line: line) }
  }

  /// Parses a text that is not part of a file, such as a value on a command line.
  /// - Parameter path: Keys that lead to the value, for messages.
  public static func parse(_ text: String, at place: YAMLPlace, path: String) throws(YAMLError) -> YAMLNode {
    try parse(text, path: path) { _ in place }
  }

  private static func parse(_ text: String, path: String, place: @escaping (Int) -> YAMLPlace) throws(YAMLError)
    -> YAMLNode
  {
    guard aliasLikes(in: text) <= Limits.yamlAliasesMax else {
      throw YAMLError(place(1), path: path, expected: "at most \(Limits.yamlAliasesMax) aliases", found: "more")
    }
    let root: Yams.Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch {
      throw failure(error, path: path, place: place)
    }
    guard let root else { return YAMLNode(.scalar("", isPlain: true), place: place(1), path: path) }
    // A text without aliases has fewer values than bytes.
    var reader = YAMLReader(place: place, valuesLeft: text.utf8.count + 1)
    return try reader.node(root, path: path, depth: 0)
  }

  private static func failure(_ error: any Error, path: String, place: (Int) -> YAMLPlace) -> YAMLError {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      YAMLError(place(mark.line), path: path, expected: "YAML", found: "something else: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      YAMLError(
        place(context.mark.line), path: path, expected: "every key once",
        found: "\((duplicates.first ?? "").quotedForMessage) twice")
    case .reader(let problem, _, _, _):
      YAMLError(place(1), path: path, expected: "YAML", found: "other bytes: \(problem)")
    default: YAMLError(place(1), path: path, expected: "YAML", found: "something else")
    }
  }

  /// Upper bound on the number of aliases in a text. Yams expands aliases, and hashes expanded keys, before they
  /// could be counted exactly.
  private static func aliasLikes(in text: String) -> Int {
    var count = 0
    var beforePrevious = UInt8(ascii: " ")
    var previous = UInt8(ascii: " ")
    for byte in text.utf8 {
      let canFollow =
        beforePrevious <= UInt8(ascii: " ") || beforePrevious >= 0x80 || ",:?[{".utf8.contains(beforePrevious)
      if previous == UInt8(ascii: "*"), byte > UInt8(ascii: " "), canFollow { count += 1 }
      (beforePrevious, previous) = (previous, byte)
    }
    return count
  }
}

/// Converts the nodes of Yams.
private struct YAMLReader {
  let place: (Int) -> YAMLPlace
  var valuesLeft: Int

  mutating func node(_ node: Yams.Node, path: String, depth: Int) throws(YAMLError) -> YAMLNode {
    let place = self.place(node.mark?.line ?? 1)
    guard depth < Limits.yamlDepthMax else {
      throw YAMLError(place, path: path, expected: "at most \(Limits.yamlDepthMax) levels", found: "more")
    }
    valuesLeft -= 1
    guard valuesLeft >= 0 else {
      throw YAMLError(
        place, path: path, expected: "no more values than the file has bytes", found: "aliases of aliases")
    }
    var result = YAMLNode(.list([]), place: place, path: path)
    switch node {
    case .scalar(let scalar): result.content = .scalar(scalar.string, isPlain: scalar.style == .plain)
    case .sequence(let sequence):
      var elements: [YAMLNode] = []
      for (index, element) in sequence.enumerated() {
        elements.append(try self.node(element, path: "\(path)[\(index)]", depth: depth + 1))
      }
      result.content = .list(elements)
    case .mapping(let mapping):
      var entries: [YAMLNode.Entry] = []
      for (key, value) in mapping {
        guard case .scalar(let word) = key else {
          throw YAMLError(
            self.place(key.mark?.line ?? 1), path: path, expected: "a word as key", found: "another shape")
        }
        let name = YAMLNode(
          .scalar(word.string, isPlain: word.style == .plain), place: self.place(word.mark?.line ?? 1), path: path)
        entries.append(
          .init(key: name, value: try self.node(value, path: result.path(of: word.string), depth: depth + 1)))
      }
      result.content = .mapping(entries)
    case .alias: throw result.wrong(expected: "a value", found: "an alias of nothing")
    }
    return result
  }
}
