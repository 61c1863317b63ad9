internal import NeedletailCore

/// Foreign bytes for a message: the first of them, broken UTF-8 repaired.
func textForMessage(_ bytes: UnsafeRawBufferPointer) -> String {
  String(decoding: bytes.prefix(Limits.featureNameBytesMax), as: UTF8.self)
}

/// The sentences of refusals. Cold: nothing here runs for a request that binds.
extension FeatureBinder {
  /// Names listed in one message.
  private static let listedMax = 5
  /// An edit distance costs length², and a stranger chooses the word.
  private static let suggestionBytesMax = 64
  private static let suggestionCandidatesMax = 256

  @inline(never)
  func input(_ name: UnsafeRawBufferPointer, _ message: String) -> ServingError {
    .invalidArgument("input \(textForMessage(name).quotedForMessage): \(message)")
  }

  @inline(never)
  func noTensors() -> ServingError {
    .invalidArgument(
      "inputs: expected a tensor \"\(Self.denseName)\" of shape [rows, \(count)], or one tensor for each of \(count) features, found none"
    )
  }

  @inline(never)
  func unknownInput(_ name: UnsafeRawBufferPointer) -> ServingError {
    if isDenseName(name) { return input(name, "expected no other inputs beside it") }
    let names = schema.features.map(\.name)
    return .invalidArgument(
      "unknown input \(textForMessage(name).quotedForMessage), expected \(list(names, suggestingFor: name))")
  }

  @inline(never)
  func error(_ fault: CellFault, feature index: Int, row: Int, found cell: Cell) -> ServingError {
    let feature = schema.features[index]
    let place = "feature \(feature.name.quotedForMessage), row \(row)"
    let found =
      switch cell {
      case .number(let number): "\(number)"
      case .text(let text): text.quotedForMessage
      case .missing: "none"
      }
    switch fault {
    case .missing: return .invalidArgument("\(place): expected a value, found none")
    case .infinite: return .invalidArgument("\(place): expected a finite number, found \(found)")
    case .tooLarge:
      return .invalidArgument(
        "\(place): expected a number within ±\(Float.greatestFiniteMagnitude), found \(found)")
    case .notANumber: return .invalidArgument("\(place): expected a number, found \(found)")
    case .notABool:
      return .invalidArgument("\(place): expected a BOOL byte of 0 or 1, found \(found.prefix { $0 != "." })")
    case .invalidUTF8: return .invalidArgument("\(place): expected UTF-8 text, found \(found)")
    case .unknownCategory: return .invalidArgument("\(place): \(unknownCategory(cell, of: feature, found: found))")
    }
  }

  private func unknownCategory(_ cell: Cell, of feature: Feature, found: String) -> String {
    guard case .categorical(let categories, _) = feature.kind else { return "unknown category \(found)" }
    guard case .text(var text) = cell else {
      return "unknown category code \(found), expected a whole number from 0 to \(categories.count - 1)"
    }
    let listed = text.withUTF8 { list(categories, suggestingFor: UnsafeRawBufferPointer($0)) }
    return "unknown category \(found), expected \(listed)"
  }

  /// `one of "a", "b" and 7 more, did you mean "b"?`
  private func list(_ names: [String], suggestingFor word: UnsafeRawBufferPointer) -> String {
    let shown = names.prefix(Self.listedMax).map(\.quotedForMessage).joined(separator: ", ")
    let more = names.count > Self.listedMax ? " and \(names.count - Self.listedMax) more" : ""
    let listed = names.count == 1 ? shown : "one of \(shown)\(more)"
    guard word.count <= Self.suggestionBytesMax else { return listed }
    let candidates = names.lazy.filter { $0.utf8.count <= Self.suggestionBytesMax }
    return listed
      + Suggestion.clause(for: textForMessage(word), among: candidates.prefix(Self.suggestionCandidatesMax))
  }

  func describe(_ shape: UnsafeBufferPointer<UInt64>) -> String {
    let sizes = shape.prefix(Limits.tensorRankMax).map { String($0) }.joined(separator: ", ")
    return "[\(sizes)\(shape.count > Limits.tensorRankMax ? ", …" : "")]"
  }
}
