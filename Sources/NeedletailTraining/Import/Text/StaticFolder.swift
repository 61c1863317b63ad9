internal import NeedletailCore
internal import NeedletailEngine

/// A folder of static embeddings, as the library model2vec writes it: a vector for each token, and perhaps a weight and a
/// place among fewer vectors.
///
/// The embedding of a text is the mean over its tokens of `weights[id] · embeddings[mapping[id]]`, zeros without tokens,
/// divided by its length where `normalize` is set. No special tokens are put around a text; it is cut off to `max_length`
/// tokens, of which the unknown ones are left out. Defined by `StaticModel.encode` of version 0.10 of
/// https://github.com/MinishLab/model2vec.
struct StaticFolder: TextModelSource {
  let tokenizer: Tokenizer
  private(set) var notes: [String] = []
  private let tensors: ModelTensors
  private let isNormalised: Bool
  /// Vectors and columns of the table in the file.
  private let shape: [Int]

  /// Name of the tensor by which such a folder is known.
  static let table = "embeddings"
  /// Tokens that the library cuts texts off to where a folder does not say it.
  private static let tokensMaxDefault = 512

  /// - Throws: `TrainingError` that names the file, the field or the tensor, what was expected and what was found.
  init(_ folder: ForeignFolder, _ tensors: ModelTensors, _ settings: EncoderImportSettings) throws(TrainingError) {
    for (name, isGiven) in [
      ("--adapter", settings.adapter != nil), ("--pooling", settings.pooling != nil), ("--pair", settings.isPair),
      ("--labels", !settings.labels.isEmpty),
    ] where isGiven {
      throw .configuration(name, "expected an encoder, found static embeddings in \(folder.path)")
    }
    self.tensors = tensors
    let document = try folder.json("config.json")
    let own: Int
    (isNormalised, own) = try folder.naming("config.json") { () throws(TrainingError) in
      (try document.optional("normalize")?.boolean ?? false, try Self.tokensMax(document))
    }
    let range = 1...Limits.rowTokensMax
    if let asked = settings.tokensMax, !range.contains(asked) {
      throw .configuration("--tokens", "expected \(range.lowerBound) to \(range.upperBound), found \(asked)")
    }
    guard let shape = tensors.shape(of: Self.table), shape.count == 2, shape.allSatisfy({ $0 > 0 }) else {
      throw .importing(
        "\(tensors.path): tensor \"\(Self.table)\": expected shape [any, any], found \(tensors.shape(of: Self.table) ?? [])"
      )
    }
    self.shape = shape
    tokenizer = try Self.tokenizer(folder, tokensMax: settings.tokensMax ?? own)
    guard tensors.has("mapping") || shape[0] == tokenizer.idCount else {
      throw .importing(
        "\(tensors.path): tensor \"\(Self.table)\": expected \(tokenizer.idCount) vectors, one for each token, or a tensor \"mapping\", found \(shape[0])"
      )
    }
    let (numbers, overflow) = tokenizer.idCount.multipliedReportingOverflow(by: shape[1])
    guard !overflow, numbers <= Limits.foreignFileBytesMax / 4 else {
      throw .importing(
        "\(tensors.path): expected a table of at most \(Limits.foreignFileBytesMax / 4) numbers, found \(tokenizer.idCount) tokens of \(shape[1]) columns"
      )
    }
    notes.append("texts are cut off to \(tokenizer.tokensMax ?? 0) tokens")
  }

  /// Tokens that `max_length` says, as far as one row may have so many. Null is no bound.
  private static func tokensMax(_ document: ForeignField) throws(TrainingError) -> Int {
    guard document.has("max_length") else { return tokensMaxDefault }
    let found = try document.optional("max_length")?.integer(in: 1...Limits.columnsMax)
    return min(found ?? Limits.rowTokensMax, Limits.rowTokensMax)
  }

  private static func tokenizer(_ folder: ForeignFolder, tokensMax: Int) throws(TrainingError) -> Tokenizer {
    let name = "tokenizer.json"
    guard folder.has(name) else { throw .importing("\(folder.path): expected \(name) in the folder, found none") }
    // Padding and truncation of the file are none of the library's.
    var definition = try TokenizerFile.read(folder.path(name)).definition
    (definition.single, definition.pair) = ([], [])
    definition.dropsUnknown = definition.unknown != nil
    definition.truncation = .longestFirst
    definition.tokensMax = tokensMax
    do throws(GraphFault) { return try Tokenizer(definition) } catch {
      throw .importing("\(folder.path(name)): \(error.message)")
    }
  }

  func definition(_ settings: EncoderImportSettings) throws(TrainingError) -> ModelDefinition {
    var graph = EncoderGraph(texts: 1, tokenizer: tokenizer)
    let ids = graph.addTokenIds()
    let type = ValueType(columns: shape[1])
    let table = try vectors()
    let found = graph.addTable("token vectors", from: ids, .value, rows: tokenizer.idCount, table)
    var value = graph.add(Pool(.mean), isNormalised ? "mean" : AnswerNames.embedding, from: [found], type)
    if isNormalised { value = graph.add(Normalise(), AnswerNames.embedding, from: [value], type) }
    let schema = FeatureSchema(
      features: [Feature(name: "text", kind: .text, missing: .impute)], target: settings.target)
    return ModelDefinition(schema: schema, graph: graph.finish(numbers: value, as: AnswerNames.embedding), labels: [])
  }

  /// One vector for each token, with its weight in it: a mean divides by the number of tokens, not by their weights.
  private func vectors() throws(TrainingError) -> [Float] {
    let (count, width) = (tokenizer.idCount, shape[1])
    var vectors = try tensors.floats(Self.table, shape: [shape[0], width], readsIntegers: true).floats
    if tensors.has("mapping") {
      let mapping = try tensors.integers("mapping", count: count, in: 0..<shape[0])
      var expanded: [Float] = []
      expanded.reserveCapacity(count * width)
      for row in mapping { expanded += vectors[row * width..<(row + 1) * width] }
      vectors = expanded
    }
    if tensors.has("weights") {
      let weights = try tensors.floats("weights", shape: [count]).floats
      for index in vectors.indices { vectors[index] *= weights[index / width] }
      if let index = vectors.firstIndex(where: { !$0.isFinite }) {
        throw .importing(
          "\(tensors.path): expected finite products of weights and vectors, found \(vectors[index]) for token \(index / width)"
        )
      }
    }
    return vectors
  }

  var words: String { "static embeddings" }

  var parameterWords: String {
    let shared = shape[0] == tokenizer.idCount ? "" : " · \(Figures.count(shape[0])) vectors"
    return "\(Figures.count(tokenizer.idCount)) tokens of \(shape[1]) columns\(shared)"
  }

  var sizes: [Document.Entry] {
    [.init("width", .integer(shape[1])), .init("vectors", .integer(shape[0]))]
  }
}
