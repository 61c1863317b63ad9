internal import NeedletailCore

/// What `modules.json` of sentence-transformers says becomes of the tokens: how they are pooled, and whether the result is
/// normalised.
struct SentenceModules: Equatable {
  enum Pooling: String, CaseIterable {
    case mean
    case first = "cls"
    case largest = "max"
  }

  var pooling: Pooling
  var isNormalised: Bool
  /// Tokens that longer texts are cut off to; nil: as many as the tokenizer says.
  var tokensMax: Int?
  /// Whether texts are lowercased before the tokenizer sees them.
  var lowercases = false

  /// Reads `modules.json` and the files that it names; nil for a folder without one.
  ///
  /// - Throws: `TrainingError` that names the file, the field, what was expected and what was found.
  static func read(_ folder: ForeignFolder) throws(TrainingError) -> SentenceModules? {
    guard folder.has("modules.json") else { return nil }
    let modules = try folder.json("modules.json")
    var pooling: Pooling?
    var isNormalised = false
    for (index, module) in try folder.naming("modules.json", { () throws(TrainingError) in try modules.elements })
      .enumerated()
    {
      let (type, path) = try folder.naming("modules.json") { () throws(TrainingError) in
        (try module.required("type").text, try module.optional("path")?.text ?? "")
      }
      // A folder may not send its reader elsewhere.
      guard !path.contains("/"), path != ".." else {
        throw .importing(
          "\(folder.path("modules.json")): expected the name of a folder inside it, found \(path.quotedForMessage)")
      }
      switch (index, type.split(separator: ".").last ?? "") {
      case (0, "Transformer"):
        guard path.isEmpty || path == "." else {
          throw .importing(
            "\(folder.path("modules.json")): expected the transformer in the folder itself, found it in \(path.quotedForMessage)"
          )
        }
      case (1, "Pooling"): pooling = try self.pooling(folder, "\(path)/config.json")
      case (2, "Normalize"): isNormalised = true
      case (_, let name):
        throw .importing(
          "\(folder.path("modules.json")): expected Transformer, Pooling and perhaps Normalize, found \(String(name).quotedForMessage) as module \(index)"
        )
      }
    }
    guard let pooling else {
      throw .importing("\(folder.path("modules.json")): expected a module Pooling, found none")
    }
    var read = SentenceModules(pooling: pooling, isNormalised: isNormalised)
    let name = "sentence_bert_config.json"
    if folder.has(name) {
      let document = try folder.json(name)
      try folder.naming(name) { () throws(TrainingError) in
        read.tokensMax = try document.optional("max_seq_length")?.integer(in: 1...Limits.columnsMax)
        read.lowercases = try document.optional("do_lower_case")?.boolean ?? false
      }
    }
    return read
  }

  /// Modes of `Pooling`, of which one is set. Newer files name it in `pooling_mode`.
  private static func pooling(_ folder: ForeignFolder, _ name: String) throws(TrainingError) -> Pooling {
    let document = try folder.json(name)
    return try folder.naming(name) { () throws(TrainingError) in
      var modes: [String] = []
      if let mode = try document.optional("pooling_mode") {
        modes = [try mode.text]
      } else {
        for (key, mode) in [
          ("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max"),
          ("mean_sqrt_len_tokens", "mean_sqrt_len"), ("weightedmean_tokens", "weightedmean"),
          ("lasttoken", "lasttoken"),
        ] where try document.optional("pooling_mode_\(key)")?.boolean ?? false {
          modes.append(mode)
        }
      }
      guard modes.count == 1, let pooling = Pooling(rawValue: modes[0]) else {
        let found = modes.isEmpty ? "none" : modes.joined(separator: " and ")
        throw document.fault("one pooling mode: mean, cls or max", found: found)
      }
      return pooling
    }
  }
}
