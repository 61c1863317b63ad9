internal import NeedletailCore

/// The tensors of an encoder by their names inside its body, with an adapter merged.
struct EncoderTensors {
  private let file: ModelTensors
  private let adapter: LowRankAdapter?
  /// What stands in front of the names of the body: `bert.`, or nothing.
  private let prefix: String
  /// The same in an adapter, which may have been trained on a class with another head.
  private let adapterPrefix: String
  private var used: Set<String> = []
  /// Numbers of the body that take the place of the file's.
  private var replaced: [String: [Float]] = [:]

  /// - Throws: `TrainingError` where the file has no table of words.
  init(
    _ file: ModelTensors, adapter: LowRankAdapter?, architecture: EncoderConfiguration.Architecture
  ) throws(TrainingError) {
    let table = "embeddings.word_embeddings.weight"
    let named = "\(architecture.rawValue)."
    guard let prefix = [named, ""].first(where: { file.has($0 + table) }) else {
      throw .importing(
        "\(file.path): expected a tensor \"\(table)\", perhaps with \(named) in front, as model_type of config.json says; found none"
      )
    }
    self.prefix = prefix
    adapterPrefix = named
    self.file = file
    self.adapter = adapter
  }

  var path: String { file.path }

  /// Has a tensor of the body hold other numbers, as many as those of the file.
  mutating func replace(_ name: String, by floats: [Float]) { replaced[name] = floats }

  /// Whether the body has a tensor.
  func has(_ name: String) -> Bool { file.has(prefix + name) }

  /// Whether the model, or the adapter in its place, has a tensor outside the body.
  func hasHead(_ name: String) -> Bool { file.has(name) || (adapter?.replaces(name, prefix: adapterPrefix) ?? false) }

  /// A matrix of the body or, without a prefix, of the head.
  ///
  /// - Parameters:
  ///   - rows: nil: any number from 1.
  ///   - isHead: whether its name has no prefix.
  /// - Returns: its numbers row-major, and how many rows there are.
  mutating func matrix(
    _ name: String, rows: Int?, columns: Int, isHead: Bool = false
  ) throws(TrainingError) -> (floats: [Float], rows: Int) {
    var found = try numbers(name, shape: [rows, columns], isHead: isHead)
    try adapter?.merge(into: &found.floats, rows: found.shape[0], columns: columns, of: name, prefix: adapterPrefix)
    return (found.floats, found.shape[0])
  }

  /// A bias, or another row of numbers.
  mutating func vector(_ name: String, count: Int, isHead: Bool = false) throws(TrainingError) -> [Float] {
    try numbers(name, shape: [count], isHead: isHead).floats
  }

  private mutating func numbers(
    _ name: String, shape: [Int?], isHead: Bool
  ) throws(TrainingError) -> (floats: [Float], shape: [Int]) {
    let full = isHead ? name : prefix + name
    used.insert(full)
    if !isHead, let own = replaced[name] {
      let sizes = shape.map { $0 ?? own.count / max(shape.reduce(1) { $0 * ($1 ?? 1) }, 1) }
      precondition(sizes.reduce(1, *) == own.count, "\(name): as many numbers as before")
      return (own, sizes)
    }
    if let found = try adapter?.replacement(of: name, prefix: adapterPrefix, shape: shape) { return found }
    return try file.floats(full, shape: shape)
  }

  /// Checks that nothing of the layers was left out, which would be another kind of model.
  ///
  /// - Parameter layers: what the names of all layers begin with: `encoder.layer.`.
  /// - Throws: `TrainingError` that names the tensor.
  func checkThatAllIsUsed(layers: String) throws(TrainingError) {
    let left = file.names.first { name in
      (name.hasPrefix(prefix + layers) || name.hasPrefix(prefix + "embeddings.")) && !used.contains(name)
        && !name.hasSuffix("position_ids") && !name.hasSuffix("token_type_ids")
    }
    if let left {
      throw .importing(
        "\(path): tensor \(left.quotedForMessage): expected a model with as many layers and the parts that config.json names, found this beside them"
      )
    }
    try adapter?.checkThatAllIsUsed()
  }
}
