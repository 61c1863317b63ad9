internal import NeedletailCore
internal import NeedletailEngine

/// Reads JSON models of CatBoost, as `save_model(path, format="json", pool=pool)` writes them: oblivious trees, whose
/// levels ask one question each, and the trees of other growing policies.
///
/// Features are fp32 and go right where they are above the border; sums are fp64. Source: `catboost/libs/model` and the
/// tutorial "CatBoost JSON model". Models with counters of categories (CTR) are refused: they need tables that grow with
/// the training data.
struct CatBoostImport {
  private let document: ForeignField
  private let settings: ImportSettings
  /// Columns of the schema by kind and index: CatBoost numbers numeric and categorical features apart.
  private var numeric: [Int: (column: Int, missing: TreeEnsemble.Missing)] = [:]
  private var categorical: [Int: (column: Int, codes: [Int: Int])] = [:]
  private var features: [Feature] = []

  static func recognises(_ document: ForeignField) -> Bool {
    document.has("features_info") && (document.has("oblivious_trees") || document.has("trees"))
  }

  static func read(_ document: ForeignField, _ settings: ImportSettings) throws(TrainingError) -> ImportedModel {
    var reader = CatBoostImport(document: document, settings: settings)
    try reader.readFeatures()
    return try reader.model()
  }

  private init(document: ForeignField, settings: ImportSettings) {
    self.document = document
    self.settings = settings
  }

  // MARK: - features

  private mutating func readFeatures() throws(TrainingError) {
    let info = try document.required("features_info")
    for kind in ["text_features", "embedding_features"] {
      if let found = try info.optional(kind), try !found.elements.isEmpty {
        throw found.fault("numeric and categorical features", found: kind)
      }
    }
    if let counters = try info.optional("ctrs"), try !counters.elements.isEmpty {
      throw counters.fault("categories told apart one by one (one_hot_max_size)", found: "counters of categories (CTR)")
    }
    var columns: [Int: Feature] = [:]
    func add(_ field: ForeignField, _ kind: Feature.Kind) throws(TrainingError) -> Int {
      let column = try field.required("flat_feature_index").integer(in: 0...(Limits.featuresMax - 1))
      let name = try field.optional(anyOf: "feature_name", "feature_id")?.text ?? ""
      let feature = Feature(name: name.isEmpty ? "\(column)" : name, kind: kind, missing: .impute)
      guard columns.updateValue(feature, forKey: column) == nil else {
        throw field.fault("each flat_feature_index once", found: "\(column) twice")
      }
      return column
    }
    for field in try info.optional("float_features")?.elements ?? [] {
      let treatment = try field.optional("nan_value_treatment")?.text ?? "AsIs"
      let index = try field.required("feature_index").integer(in: 0...(Limits.featuresMax - 1))
      let column = try add(field, .numeric)
      numeric[index] = (column, treatment == "AsTrue" ? .right : .left)
    }
    try readCategories(info, add)
    for column in 0..<columns.count {
      guard let feature = columns[column] else {
        throw info.fault("features numbered from 0", found: "none with flat_feature_index \(column)")
      }
      features.append(feature)
    }
  }

  private mutating func readCategories(
    _ info: ForeignField, _ add: (ForeignField, Feature.Kind) throws(TrainingError) -> Int
  ) throws(TrainingError) {
    var names: [Int: String] = [:]
    for entry in try info.optional("cat_features_hash")?.elements ?? [] {
      names[try entry.required("hash").integer(in: Int(Int32.min)...Int(UInt32.max))] = try entry.required("value").text
    }
    for field in try info.optional("categorical_features")?.elements ?? [] {
      let index = try field.required("feature_index").integer(in: 0...(Limits.featuresMax - 1))
      var categories: [String] = []
      var codes: [Int: Int] = [:]
      for hash in try field.optional("values")?.integers(in: Int(Int32.min)...Int(UInt32.max)) ?? [] {
        // A hash is 32 bits, which older versions write with a sign.
        guard let name = names[hash] ?? names[hash & 0xFFFF_FFFF] else {
          throw field.fault(
            "the names of categories; save the model with pool=, the training pool", found: "hash \(hash) without one")
        }
        codes[hash & 0xFFFF_FFFF] = categories.count
        categories.append(name)
      }
      // A feature that no tree asks about has no categories to tell apart.
      if categories.isEmpty { categories = ["any"] }
      let column = try add(field, .categorical(categories: categories, unknown: .zeros))
      categorical[index] = (column, codes)
    }
  }

  // MARK: - model

  private func model() throws(TrainingError) -> ImportedModel {
    let info = try document.optional("model_info")
    let loss = try Self.loss(info)
    let labels = try Self.labels(info)
    let scaleAndBias = try document.optional("scale_and_bias")?.elements ?? []
    var scale = 1.0
    var bias = [0.0]
    if scaleAndBias.count == 2 {
      scale = try scaleAndBias[0].number
      if case .number(let number) = scaleAndBias[1].value {
        bias = [number]
      } else {
        bias = try scaleAndBias[1].numbers()
      }
    }
    guard scale.isFinite, !bias.isEmpty, bias.allSatisfy(\.isFinite) else {
      throw document.fault("a finite scale_and_bias", found: "\(scale) and \(bias)")
    }
    let outputs = bias.count
    let link = try Self.link(of: loss, outputs: outputs, at: document)
    var trees = try document.optional(anyOf: "oblivious_trees", "trees")?.elements ?? []
    let isOblivious = document.has("oblivious_trees")
    guard !trees.isEmpty else { throw document.fault("a tree", found: "none") }
    var notes: [String] = []
    if case .first(let count) = settings.iterations {
      guard count <= trees.count else {
        throw .importing("--iterations: expected 1 to \(trees.count), found \(count)")
      }
      notes.append("the first \(count) of \(trees.count) iterations are kept")
      trees = Array(trees[..<count])
    }
    var grown = TreeModel(comparison: .atMost, sums: .float64, outputs: outputs, trees: [])
    grown.columns = features.count
    grown.bias = bias.allSatisfy { $0 == 0 } ? [] : bias
    for tree in trees {
      grown.trees.append(
        try isOblivious
          ? oblivious(tree, outputs: outputs, scale: scale) : nested(tree, outputs: outputs, scale: scale))
    }
    var model = ImportedModel(
      source: "CatBoost", objective: loss, features: features, element: .float32, ensemble: try grown.imported(),
      outputs: outputs, link: link, notes: notes)
    if link.isClassification, labels.count == model.classCount { model.labels = labels }
    return model
  }

  private static func loss(_ info: ForeignField?) throws(TrainingError) -> String {
    guard let parameters = try info?.optional("params") else { return "RMSE" }
    var field = parameters
    // An object, or one as text.
    if case .text(let text) = parameters.value {
      field = ForeignField(value: try ForeignJSON.read(Array(text.utf8)), path: parameters.path)
    }
    return try field.optional("loss_function")?.optional("type")?.text ?? "RMSE"
  }

  private static func labels(_ info: ForeignField?) throws(TrainingError) -> [String] {
    var field = try info?.optional("class_params")
    if let text = try? field?.text {
      field = ForeignField(value: try ForeignJSON.read(Array(text.utf8)), path: "model_info.class_params")
    }
    var labels: [String] = []
    for name in try field?.optional("class_names")?.elements ?? [] {
      switch name.value {
      case .text(let text): labels.append(text)
      case .boolean(let flag): labels.append(flag ? "true" : "false")
      default:
        let number = try name.number
        labels.append(Int(exactly: number).map { String($0) } ?? String(number))
      }
    }
    return labels
  }

  private static func link(
    of loss: String, outputs: Int, at field: ForeignField
  ) throws(TrainingError) -> ImportedModel.Link {
    let link: ImportedModel.Link
    switch loss {
    case "RMSE", "MAE", "Quantile", "MultiQuantile", "MAPE", "Huber", "Lq", "Expectile", "MultiRMSE",
      "MultiRMSEWithMissingValues", "YetiRank",
      "YetiRankPairwise", "PairLogit", "PairLogitPairwise", "QueryRMSE", "QuerySoftMax", "LambdaMart", "StochasticRank":
      return .identity
    case "Poisson", "Tweedie", "LogLinQuantile": link = .exponential
    case "Logloss", "CrossEntropy", "Focal": link = .binary(factor: 1)
    // Several labels of a row, each for itself.
    case "MultiLogloss", "MultiCrossEntropy": return .logistic(factor: 1)
    case "MultiClass":
      guard outputs >= 2 else { throw field.fault("two or more outputs for MultiClass", found: "\(outputs)") }
      return .softmax
    case "MultiClassOneVsAll":
      guard outputs >= 2 else { throw field.fault("two or more outputs for MultiClassOneVsAll", found: "\(outputs)") }
      return .oneVersusAll(factor: 1)
    default:
      throw field.fault("a loss function that this version of the trainer knows", found: loss.quotedForMessage)
    }
    guard outputs == 1 else { throw field.fault("one output for \(loss)", found: "\(outputs)") }
    return link
  }

  // MARK: - trees

  /// The node of a question; its children are those for no and yes.
  private func node(_ split: ForeignField, no: Int, yes: Int) throws(TrainingError) -> TreeModel.Node {
    switch try split.optional("split_type")?.text ?? "FloatFeature" {
    case "FloatFeature":
      let index = try split.required("float_feature_index").integer(in: 0...(Limits.featuresMax - 1))
      guard let (column, missing) = numeric[index] else {
        throw split.fault("a numeric feature", found: "number \(index)")
      }
      let border = try split.required("border").number
      // A missing value goes where the feature says: below all borders, or above.
      return .split(
        .init(column: column, test: .threshold(Double(Float(border))), missing: missing, left: no, right: yes))
    case "OneHotFeature":
      let index = try split.required("cat_feature_index").integer(in: 0...(Limits.featuresMax - 1))
      let hash = try split.required("value").integer(in: Int(Int32.min)...Int(UInt32.max))
      guard let (column, codes) = categorical[index], let code = codes[hash & 0xFFFF_FFFF] else {
        throw split.fault("a category of a categorical feature", found: "number \(index), hash \(hash)")
      }
      return .split(.init(column: column, test: .categories([code]), missing: .right, left: yes, right: no))
    case let other:
      throw split.fault("FloatFeature or OneHotFeature", found: "\(other), a counter of categories (CTR)")
    }
  }

  private func oblivious(
    _ tree: ForeignField, outputs: Int, scale: Double
  ) throws(TrainingError) -> TreeModel.Tree {
    let splits = try tree.optional("splits")?.elements ?? []
    guard splits.count <= Self.obliviousDepthMax else {
      throw tree.fault("at most \(Self.obliviousDepthMax) splits", found: "\(splits.count)")
    }
    let inner = 1 << splits.count - 1
    let values = try tree.required("leaf_values").numbers(count: (inner + 1) * outputs)
    let weights = try tree.optional("leaf_weights").map { (field) throws(TrainingError) in
      try field.numbers(count: inner + 1)
    }
    var covers = [Double](repeating: 0, count: weights == nil ? 0 : inner)
    // Nodes as in a heap: the children of node n are 2n + 1 and 2n + 2. Bit l of a leaf's number is the answer to split l.
    // The last split stands at the root, as where the library explains; answers do not depend on the order.
    var nodes: [TreeModel.Node] = []
    nodes.reserveCapacity(2 * inner + 1)
    for index in 0..<inner {
      let level = (index + 1).bitWidth - 1 - (index + 1).leadingZeroBitCount
      nodes.append(try node(splits[splits.count - 1 - level], no: 2 * index + 1, yes: 2 * index + 2))
    }
    for leaf in 0...inner {
      nodes.append(.leaf(values[(leaf * outputs)..<((leaf + 1) * outputs)].map { $0 * scale }))
      if let weights { covers.append(weights[leaf]) }
    }
    return .init(nodes: nodes, covers: covers)
  }

  /// Depth that CatBoost allows.
  private static let obliviousDepthMax = 16

  private func nested(
    _ tree: ForeignField, outputs: Int, scale: Double
  ) throws(TrainingError) -> TreeModel.Tree {
    // Nodes in the order in which they are met.
    var fields = [tree]
    var nodes: [TreeModel.Node] = []
    var covers: [Double] = []
    while nodes.count < fields.count {
      let field = fields[nodes.count]
      if let split = try field.optional("split") {
        nodes.append(try node(split, no: fields.count, yes: fields.count + 1))
        fields.append(try field.required("left"))
        fields.append(try field.required("right"))
        covers.append(0)
        continue
      }
      let value = try field.required("value")
      let values: [Double] = if case .number(let number) = value.value { [number] } else { try value.numbers() }
      guard values.count == outputs else { throw value.fault("\(outputs) values", found: "\(values.count)") }
      nodes.append(.leaf(values.map { $0 * scale }))
      if let weight = try field.optional("weight") { covers.append(try weight.number) }
    }
    return .init(nodes: nodes, covers: covers.count == nodes.count ? covers : [])
  }
}
