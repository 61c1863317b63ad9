internal import NeedletailCore
internal import NeedletailYAML

/// Checks what the user wrote against the settings that exist, and merges the defaults under it.
struct SettingsCheck {
  /// Where each value the user gave stands, by its dotted path.
  private(set) var places: [String: YAMLPlace] = [:]

  /// - Parameter place: of the section, or of the nearest one around it that the user wrote.
  /// - Returns: every setting in the order of `settings`: the user's value, else the default.
  mutating func merge(
    _ node: YAMLNode?, under settings: [Setting], path: String, place: YAMLPlace
  ) throws(YAMLError) -> Document {
    let given = try node?.entries(known: settings.map(\.key)) ?? []
    var entries: [Document.Entry] = []
    for setting in settings {
      let inner = path.isEmpty ? setting.key : "\(path).\(setting.key)"
      let own = given.first { $0.word == setting.key }
      if let own { places[inner] = own.key.place }
      let value = try self.value(own?.value, setting, path: inner, place: own?.key.place ?? place)
      if value == .null, setting.isRequired {
        throw YAMLError(place, path: inner, expected: setting.kind.expectation, found: "nothing")
      }
      entries.append(.init(setting.key, value))
    }
    return .section(entries)
  }

  private mutating func value(
    _ node: YAMLNode?, _ setting: Setting, path: String, place: YAMLPlace
  ) throws(YAMLError) -> Document {
    switch setting.kind {
    case .section(let settings):
      return try merge(node, under: settings, path: path, place: place)
    case .sectionPerColumn(let settings):
      var entries: [Document.Entry] = []
      for column in try node?.entries() ?? [] {
        let inner = column.value.path
        places[inner] = column.key.place
        entries.append(
          .init(column.word, try merge(column.value, under: settings, path: inner, place: column.key.place)))
      }
      return .section(entries)
    case .list(let element):
      guard let node, !node.isNull else { return setting.fallback }
      // One value is a list of one: `files: wine.csv`.
      guard case .list(let nodes) = node.content else { return .list([try scalar(node, element)]) }
      return .list(try nodes.map { node throws(YAMLError) in try scalar(node, element) })
    default:
      guard let node, !node.isNull else { return setting.fallback }
      return try scalar(node, setting.kind)
    }
  }

  private func scalar(_ node: YAMLNode, _ kind: Setting.Kind) throws(YAMLError) -> Document {
    guard case .scalar(let text, _) = node.content else { throw node.wrong(expected: kind.expectation) }
    switch kind {
    case .integer(let range):
      if let value = Int(text), range.contains(value) { return .integer(value) }
    case .number(let range):
      if let value = Double(text), range.contains(value) { return .number(value) }
    case .flag:
      if text == "true" || text == "false" { return .flag(text == "true") }
    case .choice(let words):
      if words.contains(text) { return .text(text) }
      throw node.wrong(expected: kind.expectation, hint: Suggestion.clause(for: text, among: words))
    case .text:
      return .text(text)
    case .list, .section, .sectionPerColumn:
      break
    }
    throw node.wrong(expected: kind.expectation)
  }
}
