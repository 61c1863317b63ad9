internal import NeedletailCore

/// Checks what the user wrote against the settings that exist, and merges the defaults under it.
struct SettingsCheck {
  /// Where each value the user gave stands, by its dotted path.
  private(set) var locations: [String: String] = [:]

  /// - Returns: every setting in the order of `settings`: the user's value, else the default.
  mutating func merge(
    _ node: LocatedNode?, under settings: [Setting], path: String, location: String
  ) throws(TrainingError) -> Document {
    var given: [(key: String, location: String, value: LocatedNode)] = []
    switch node?.content {
    case nil, .null: break
    case .section(let entries): given = entries
    case .scalar, .list:
      throw .configuration(
        node?.location ?? location,
        "\(path.isEmpty ? "run" : path): expected a section of keys, found \(Self.found(node))")
    }
    for entry in given where !settings.contains(where: { $0.key == entry.key }) {
      throw unknownKey(entry.key, entry.location, path, known: settings.map(\.key))
    }
    var entries: [Document.Entry] = []
    for setting in settings {
      let inner = path.isEmpty ? setting.key : "\(path).\(setting.key)"
      let own = given.first { $0.key == setting.key }
      if let own { locations[inner] = own.location }
      let value = try self.value(own?.value, setting, path: inner, location: own?.location ?? location)
      if value == .null, setting.isRequired {
        throw .configuration(location, "\(inner): expected \(setting.kind.expectation), found nothing")
      }
      entries.append(.init(setting.key, value))
    }
    return .section(entries)
  }

  private func unknownKey(_ key: String, _ location: String, _ path: String, known: [String]) -> TrainingError {
    let place = path.isEmpty ? "" : " in \(path)"
    let clause = Suggestion.clause(for: key, among: known)
    let hint = clause.isEmpty ? "; known are \(known.joined(separator: ", "))" : clause
    return .configuration(location, "unknown key \(key.quotedForMessage)\(place)\(hint)")
  }

  private mutating func value(
    _ node: LocatedNode?, _ setting: Setting, path: String, location: String
  ) throws(TrainingError) -> Document {
    switch setting.kind {
    case .section(let settings):
      return try merge(node, under: settings, path: path, location: location)
    case .sectionPerColumn(let settings):
      guard let node, case .section(let columns) = node.content else {
        guard node == nil || node?.isNull == true else {
          throw .configuration(location, "\(path): expected a section of columns, found \(Self.found(node))")
        }
        return .section([])
      }
      var entries: [Document.Entry] = []
      for column in columns {
        let inner = "\(path).\(column.key)"
        locations[inner] = column.location
        entries.append(
          .init(column.key, try merge(column.value, under: settings, path: inner, location: column.location)))
      }
      return .section(entries)
    case .list(let element):
      guard let node, !node.isNull else { return setting.fallback }
      // One value is a list of one: `files: wine.csv`.
      guard case .list(let nodes) = node.content else {
        return .list([try scalar(node, element, path: path)])
      }
      var elements: [Document] = []
      for node in nodes { elements.append(try scalar(node, element, path: path)) }
      return .list(elements)
    default:
      guard let node, !node.isNull else { return setting.fallback }
      return try scalar(node, setting.kind, path: path)
    }
  }

  private func scalar(_ node: LocatedNode, _ kind: Setting.Kind, path: String) throws(TrainingError) -> Document {
    if case .null = node.content, case .text = kind { return .text("null") }
    guard case .scalar(let text, _) = node.content else {
      throw .configuration(node.location, "\(path): expected \(kind.expectation), found \(Self.found(node))")
    }
    switch kind {
    case .integer(let range):
      if let value = Int(text), range.contains(value) { return .integer(value) }
    case .number(let range):
      if let value = Double(text), range.contains(value) { return .number(value) }
    case .flag:
      if text == "true" || text == "false" { return .flag(text == "true") }
    case .choice(let words):
      if words.contains(text) { return .text(text) }
      throw .configuration(
        node.location,
        "\(path): expected \(kind.expectation), found \(text.quotedForMessage)"
          + Suggestion.clause(for: text, among: words))
    case .text:
      return .text(text)
    case .list, .section, .sectionPerColumn:
      break
    }
    throw .configuration(node.location, "\(path): expected \(kind.expectation), found \(text.quotedForMessage)")
  }

  private static func found(_ node: LocatedNode?) -> String {
    switch node?.content {
    case nil, .null: "nothing"
    case .scalar(let text, _): text.quotedForMessage
    case .list(let elements): "a list of \(elements.count)"
    case .section: "a section"
    }
  }
}

extension LocatedNode {
  var isNull: Bool {
    if case .null = content { true } else { false }
  }
}
