internal import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// What the user asks of the import of a Hugging Face folder.
public struct EncoderImportSettings: Sendable {
  /// Number format of the weights.
  public enum Precision: String, Sendable, CaseIterable {
    /// int8 where the answers to sample texts stay close to those of fp32.
    case auto
    case fp32
  }

  public var model: ModelID
  /// Folder of a LoRA adapter to merge; nil: none.
  public var adapter: String?
  /// How tokens are pooled where the folder does not say it: mean, cls or max.
  public var pooling: String?
  /// Whether a row has two texts: a premise and a hypothesis, or two sentences to compare.
  public var isPair = false
  public var precision = Precision.auto
  /// Tokens that longer texts are cut off to; nil: as many as the folder says.
  public var tokensMax: Int?
  /// Class labels in place of the folder's; none: those.
  public var labels: [String] = []
  /// Name of what is predicted.
  public var target = "target"
  /// CSV file with texts to compare and record; nil: built-in sample texts.
  public var data: String?
  /// CSV file with the library's answers for these texts; nil: nothing is compared.
  public var expected: String?

  public init(model: ModelID) { self.model = model }
}

/// Turns a Hugging Face folder of an encoder, or one of static embeddings, into a bundle's contents.
///
/// Tokenizer, configuration and tensors are read, a LoRA adapter is merged, and the graph is compiled by the serving
/// engine. Its answers are compared with the library's where those are given, and those of int8 with those of fp32.
/// Nothing of the folder is run.
public struct EncoderImport {
  private let folder: ForeignFolder
  private let settings: EncoderImportSettings
  private let observer: RunObserver

  /// Whether a path is a folder that this reads.
  public static func recognises(_ path: String) -> Bool {
    let folder = ForeignFolder(path)
    return folder.isFolder
  }

  public init(path: String, settings: EncoderImportSettings, observer: RunObserver = RunObserver()) {
    folder = ForeignFolder(path)
    self.settings = settings
    self.observer = observer
  }

  /// - Throws: `TrainingError` that names the file, the field or the tensor, what was expected and what was found.
  public func run() throws(TrainingError) -> ImportedEncoder {
    observer.stage("reading \(folder.path)")
    let source = try source()
    let definition = try source.definition(settings)
    observer.stage("compiling \(source.parameterWords)")
    let fp32 = try EncoderAnswers(definition)
    let samples = try settings.data.map { (data) throws(TrainingError) in try SampleRows(path: data, definition) }
    var comparison: SampleRows.Agreement?
    if let expected = settings.expected {
      guard let samples else { throw .configuration("--expected", "expected --data with the texts, found none") }
      observer.stage("comparing \(Figures.count(samples.rows.count)) texts with \(expected)")
      comparison = try samples.compare(with: expected, fp32.model, tolerance: Self.tolerance)
    }
    let rows = samples?.rows ?? SampleTexts.rows(texts: definition.schema.features.count)
    guard !rows.isEmpty else { throw .configuration("--data", "expected a text, found none") }
    let checked = Array(rows.prefix(Self.calibrationTextsMax))
    var decision = EncoderQuantisation.Decision(graph: definition.graph, reason: "fp32 as asked")
    if settings.precision == .auto {
      observer.stage("comparing int8 with fp32 on \(checked.count) texts")
      decision = try EncoderQuantisation(
        definition: definition, rows: checked, reference: fp32.numbers(for: checked), width: fp32.output.columns,
        kind: fp32.kind
      ).decide()
    }
    var served = definition
    served.graph = decision.graph
    observer.stage("recording golden samples")
    let model = try decision.similarity == nil ? fp32.model : EncoderAnswers(served).model
    var library: AnswerSimilarity?
    if let expected = settings.expected, let samples {
      // What is served, int8 or not, beside the library.
      let found = try samples.compare(with: expected, model, tolerance: .infinity)
      if !found.expected.isEmpty {
        library = AnswerSimilarity(
          found.found, found.expected, width: found.expected.count / found.rows, kind: fp32.kind)
      }
    }
    let golden = try GoldenRecorder(model: model).record(
      typical: checked.indices.map { (number: $0 + 1, cells: checked[$0]) }, training: checked)
    let lineage = Lineage(
      trainerVersion: needletailVersion, dataSHA256: samples?.sha256 ?? "", configuration: "import: \(folder.path)\n",
      seed: 0, parent: "", family: source.words, rows: 0, quantisation: decision.reason)
    return ImportedEncoder(
      settings: settings, source: source, comparison: comparison, similarity: decision.similarity, library: library,
      quantisation: decision.reason,
      contents: BundleContents(definition: served, golden: golden, lineage: lineage))
  }

  private func source() throws(TrainingError) -> any TextModelSource {
    guard folder.has("config.json") else {
      throw .importing("\(folder.path): expected a Hugging Face folder with config.json, found none")
    }
    let tensors = try ModelTensors.read(folder)
    guard tensors.has(StaticFolder.table) else { return try EncoderFolder(folder, tensors, settings) }
    return try StaticFolder(folder, tensors, settings)
  }

  /// Largest difference from the library's numbers, relative to those above 1. Both sum in fp32, in other orders.
  static let tolerance = 1e-4
  /// Texts on which int8 is compared with fp32.
  static let calibrationTextsMax = 256
}

extension SampleTexts {
  /// - Parameter texts: texts of a row; a second text is that of the row behind.
  static func rows(texts: Int) -> [[Cell]] {
    all.indices.map { row in (0..<texts).map { .text(all[(row + $0) % all.count]) } }
  }
}

/// The parts of a Hugging Face folder of an encoder.
struct EncoderFolder: TextModelSource {
  let configuration: EncoderConfiguration
  let modules: SentenceModules?
  let tokenizer: Tokenizer
  private(set) var notes: [String] = []
  private let tensors: ModelTensors
  private let adapter: LowRankAdapter?

  /// Parts for an import.
  init(
    _ folder: ForeignFolder, _ tensors: ModelTensors, _ settings: EncoderImportSettings
  ) throws(TrainingError) {
    try self.init(
      folder, tensors, labels: settings.labels,
      adapter: try settings.adapter.map { (path) throws(TrainingError) in try LowRankAdapter(ForeignFolder(path)) },
      pooling: try Self.modules(settings), tokensMax: settings.tokensMax, tokensSetting: "--tokens")
  }

  /// - Parameters:
  ///   - labels: in place of the folder's; none: those.
  ///   - pooling: where the folder does not say it.
  ///   - tokensSetting: name of what the user bounds tokens by, for messages.
  init(
    _ folder: ForeignFolder, _ tensors: ModelTensors, labels: [String] = [], adapter: LowRankAdapter? = nil,
    pooling asked: SentenceModules? = nil, tokensMax askedTokens: Int?, tokensSetting: String
  ) throws(TrainingError) {
    self.tensors = tensors
    self.adapter = adapter
    let document = try folder.json("config.json")
    var configuration = try folder.naming("config.json") { () throws(TrainingError) in
      try EncoderConfiguration(document)
    }
    if !labels.isEmpty { configuration.labels = labels }
    if let task = adapter?.task { try configuration.set(task: task) }
    self.configuration = configuration
    let named = try SentenceModules.read(folder)
    modules = named ?? asked
    var tokensMax = try Self.tokensMax(folder, configuration, modules)
    if let asked = askedTokens {
      guard (1...configuration.tokensMax).contains(asked) else {
        throw .configuration(tokensSetting, "expected 1 to \(configuration.tokensMax), found \(asked)")
      }
      tokensMax = asked
    }
    tokenizer = try Self.tokenizer(folder, configuration, modules, tokensMax: tokensMax)
    notes.append("texts are cut off to \(tokensMax) tokens")
    if configuration.head == .sequenceClassification, configuration.labels.isEmpty {
      notes.append("config.json names no labels: they are called LABEL_0, LABEL_1 and so on")
    }
  }

  /// The tensors by their names inside the body.
  func bodyTensors() throws(TrainingError) -> EncoderTensors {
    try EncoderTensors(tensors, adapter: adapter, architecture: configuration.architecture)
  }

  private static func modules(_ settings: EncoderImportSettings) throws(TrainingError) -> SentenceModules? {
    guard let name = settings.pooling else { return nil }
    guard let pooling = SentenceModules.Pooling(rawValue: name) else {
      throw .configuration("--pooling", "expected mean, cls or max, found \(name.quotedForMessage)")
    }
    return SentenceModules(pooling: pooling, isNormalised: true, tokensMax: nil)
  }

  /// What transformers and sentence-transformers cut texts off to.
  private static func tokensMax(
    _ folder: ForeignFolder, _ configuration: EncoderConfiguration, _ modules: SentenceModules?
  ) throws(TrainingError) -> Int {
    var tokensMax = modules?.tokensMax
    let name = "tokenizer_config.json"
    if tokensMax == nil, folder.has(name) {
      let document = try folder.json(name)
      // A number beyond all bounds stands for none.
      let found = try folder.naming(name) { () throws(TrainingError) in
        try document.optional("model_max_length")?.number
      }
      if let found, found >= 1, found < 1e6 { tokensMax = Int(found) }
    }
    return min(tokensMax ?? configuration.tokensMax, configuration.tokensMax)
  }

  private static func tokenizer(
    _ folder: ForeignFolder, _ configuration: EncoderConfiguration, _ modules: SentenceModules?, tokensMax: Int
  ) throws(TrainingError) -> Tokenizer {
    var definition = try TokenizerFile.read(folder.path).definition
    if modules?.lowercases == true {
      guard case .wordPieces(let model) = definition.model, model.lowercases else {
        throw .importing(
          "\(folder.path("sentence_bert_config.json")): do_lower_case: expected false where the tokenizer does not lowercase, found true"
        )
      }
    }
    definition.truncation = .longestFirst
    definition.tokensMax = tokensMax
    let tokenizer: Tokenizer
    do throws(GraphFault) { tokenizer = try Tokenizer(definition) } catch {
      throw .importing("\(folder.path): \(error.message)")
    }
    guard tokenizer.idCount <= configuration.vocabulary else {
      throw .importing(
        "\(folder.path("config.json")): vocab_size: expected at least \(tokenizer.idCount), the tokens of the tokenizer, found \(configuration.vocabulary)"
      )
    }
    return tokenizer
  }

  func definition(_ settings: EncoderImportSettings) throws(TrainingError) -> ModelDefinition {
    var tensors = try bodyTensors()
    let isAnswer = configuration.head == .questionAnswering
    let isPair = settings.isPair || isAnswer
    var graph = EncoderGraph(texts: isPair ? 2 : 1, tokenizer: tokenizer)
    let tokens = graph.addTokens()
    let body = EncoderBody(configuration: configuration, isPair: isPair)
    let state = try body.add(tokens, to: &graph, &tensors)
    let head = EncoderHead(configuration: configuration, pooling: modules)
    let (finished, labels) = try head.finish(graph, from: state, spans: tokens.spans, &tensors)
    try tensors.checkThatAllIsUsed(layers: EncoderBody.layers(of: configuration.architecture))
    let names = isAnswer ? ["question", "context"] : isPair ? ["text", "pair"] : ["text"]
    let schema = FeatureSchema(
      features: names.map { Feature(name: $0, kind: .text, missing: .impute) }, target: settings.target)
    return ModelDefinition(schema: schema, graph: finished, labels: labels)
  }

  var words: String {
    let kind =
      switch configuration.head {
      case .none: "embeddings"
      case .sequenceClassification: "sequence classification"
      case .tokenClassification: "token classification"
      case .questionAnswering: "question answering"
      }
    return "\(configuration.architecture.words), \(kind)"
  }

  var sizes: [Document.Entry] {
    [
      .init("layers", .integer(configuration.layers)), .init("width", .integer(configuration.width)),
      .init("heads", .integer(configuration.heads)), .init("vocabulary", .integer(configuration.vocabulary)),
    ]
  }

  var parameterWords: String {
    "\(configuration.layers) layers of \(configuration.width) columns · \(configuration.heads) heads · \(Figures.count(configuration.vocabulary)) tokens"
  }
}

extension EncoderConfiguration.Architecture {
  var words: String {
    switch self {
    case .bert: "BERT"
    case .distilBERT: "DistilBERT"
    case .roberta: "RoBERTa"
    }
  }
}

extension EncoderConfiguration {
  /// Takes over the task of an adapter: the class of the base model says nothing about the head that was trained.
  mutating func set(task: String) throws(TrainingError) {
    switch task {
    case "SEQ_CLS": head = .sequenceClassification
    case "TOKEN_CLS": head = .tokenClassification
    case "QUESTION_ANS": head = .questionAnswering
    case "FEATURE_EXTRACTION": head = .none
    default:
      throw .importing(
        "adapter_config.json: task_type: expected SEQ_CLS, TOKEN_CLS, QUESTION_ANS or FEATURE_EXTRACTION, found \(task.quotedForMessage)"
      )
    }
  }
}
