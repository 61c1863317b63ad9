internal import NeedletailCore
internal import Yams

/// What the user wrote, with the place of every key: the run file with the `--set`s laid over it.
struct LocatedNode {
  enum Content {
    case null
    /// `isPlain` is false in quotes, where `"null"` is text.
    case scalar(String, isPlain: Bool)
    case list([LocatedNode])
    case section([(key: String, location: String, value: LocatedNode)])
  }

  /// `run.yaml:12`, or `--set model.hidden`.
  var location: String
  var content: Content

  /// - Parameter file: its name as the user wrote it, for messages.
  static func parse(yaml text: String, file: String) throws(TrainingError) -> LocatedNode {
    let node: Yams.Node?
    do {
      node = try Yams.compose(yaml: text)
    } catch {
      throw TrainingError(.configuration, "\(file): expected YAML, found: \(Self.describe(error))")
    }
    guard let node else { return LocatedNode(location: "\(file):1", content: .section([])) }
    return try LocatedNode(node, place: { "\(file):\($0)" }, depth: 0)
  }

  private static func describe(_ error: any Error) -> String {
    guard let error = error as? YamlError else { return "\(error)" }
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return "line \(mark.line): \(problem)"
    case .duplicatedKeysInMapping(let duplicates, let context):
      return "line \(context.mark.line): the key \((duplicates.first ?? "").quotedForMessage) twice in one section"
    default: return "\(error)".split(separator: "\n").joined(separator: " ")
    }
  }

  private init(_ node: Yams.Node, place: (Int) -> String, depth: Int) throws(TrainingError) {
    let location = place(node.mark?.line ?? 1)
    self.location = location
    guard depth < 16 else { throw .configuration(location, "expected at most 16 levels of sections, found more") }
    switch node {
    case .scalar(let scalar):
      let isPlain = scalar.style == .plain || scalar.style == .any
      let isNull = isPlain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
      content = isNull ? .null : .scalar(scalar.string, isPlain: isPlain)
    case .sequence(let sequence):
      var elements: [LocatedNode] = []
      for element in sequence { elements.append(try LocatedNode(element, place: place, depth: depth + 1)) }
      content = .list(elements)
    case .mapping(let mapping):
      var entries: [(key: String, location: String, value: LocatedNode)] = []
      for (key, value) in mapping {
        let keyLocation = place(key.mark?.line ?? 1)
        guard case .scalar(let scalar) = key else { throw .configuration(keyLocation, "expected a plain key") }
        guard !entries.contains(where: { $0.key == scalar.string }) else {
          throw .configuration(keyLocation, "expected every key once, found \(scalar.string.quotedForMessage) again")
        }
        entries.append((scalar.string, keyLocation, try LocatedNode(value, place: place, depth: depth + 1)))
      }
      content = .section(entries)
    case .alias:
      throw .configuration(location, "expected a value, found an alias")
    }
  }

  private init(location: String, content: Content) {
    self.location = location
    self.content = content
  }

  /// The value under a path of keys, if the user gave one.
  func value(at path: [String]) -> LocatedNode? {
    guard let key = path.first else { return self }
    guard case .section(let entries) = content else { return nil }
    return entries.first { $0.key == key }?.value.value(at: Array(path.dropFirst()))
  }

  /// Lays `a.b=c` over the tree. A key that contains a dot stands in double quotes.
  mutating func set(_ assignment: String) throws(TrainingError) {
    guard let equals = assignment.firstIndex(of: "=") else {
      throw .configuration("--set \(assignment)", "expected key.key=value, found no \"=\"")
    }
    let pathText = String(assignment[..<equals])
    let location = "--set \(pathText)"
    let path = Self.keys(of: pathText)
    guard !path.isEmpty, path.allSatisfy({ !$0.isEmpty }) else {
      throw .configuration(location, "expected keys separated by dots, found \(pathText.quotedForMessage)")
    }
    let text = String(assignment[assignment.index(after: equals)...])
    let node: Yams.Node?
    do {
      node = try Yams.compose(yaml: text)
    } catch {
      throw .configuration(location, "expected a YAML value, found \(text.quotedForMessage)")
    }
    let value =
      try node.map { (node) throws(TrainingError) in try LocatedNode(node, place: { _ in location }, depth: path.count)
      }
      ?? LocatedNode(location: location, content: .null)
    put(value, at: path[...])
  }

  private mutating func put(_ value: LocatedNode, at path: ArraySlice<String>) {
    guard let key = path.first else {
      self = value
      return
    }
    var entries: [(key: String, location: String, value: LocatedNode)] = []
    if case .section(let existing) = content { entries = existing }
    let empty = LocatedNode(location: value.location, content: .section([]))
    let index = entries.firstIndex { $0.key == key } ?? entries.count
    if index == entries.count { entries.append((key, value.location, empty)) }
    entries[index].value.put(value, at: path.dropFirst())
    if path.count == 1 { entries[index].location = value.location }
    content = .section(entries)
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
