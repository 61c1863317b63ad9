internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Reads models of XGBoost 1.0 and later, as `Booster.save_model` writes them in JSON or Universal Binary JSON.
///
/// Source of the format: XGBoost's documentation, "Introduction to Model IO", and the schema `doc/model.schema` beside
/// it. What it leaves open was measured: `base_score` stands in the space of the answers, not of the sums; sums are fp32,
/// in the order of the trees; a categorical split sends the categories that it lists to the right.
struct XGBoostImport {
  private let learner: ForeignField
  private let settings: ImportSettings
  private let columns: Int
  /// Version of the library that wrote the file; empty before 1.0.
  private let version: [Int]

  /// Whether a document is a model of XGBoost.
  static func recognises(_ document: ForeignField) -> Bool {
    (try? document.optional("learner"))?.map { $0.has("gradient_booster") } ?? false
  }

  static func read(_ document: ForeignField, _ settings: ImportSettings) throws(TrainingError) -> ImportedModel {
    try XGBoostImport(document, settings).model()
  }

  private init(_ document: ForeignField, _ settings: ImportSettings) throws(TrainingError) {
    learner = try document.required("learner")
    self.settings = settings
    let parameters = try learner.required("learner_model_param")
    columns = try parameters.required("num_feature").integer(in: 1...Limits.featuresMax)
    version = try document.optional("version")?.integers(in: 0...Int(Int32.max)) ?? []
  }

  private var versionWords: String {
    version.isEmpty ? "before 1.0" : version.map { String($0) }.joined(separator: ".")
  }

  private func isWritten(since numbers: Int...) -> Bool { !version.lexicographicallyPrecedes(numbers) }

  private func model() throws(TrainingError) -> ImportedModel {
    let objective = try learner.required("objective", "name").text
    let parameters = try learner.required("learner_model_param")
    let classes = try parameters.optional("num_class")?.integer(in: 0...Limits.columnsMax) ?? 0
    let targets = try parameters.optional("num_target")?.integer(in: 0...Limits.columnsMax) ?? 1
    let outputs = max(classes, targets, 1)
    var (link, margin) = try link(of: objective, outputs: outputs, at: learner.required("objective", "name"))
    // Several labels of a row, each for itself.
    if case .binary(let factor) = link, targets > 1 { link = .logistic(factor: factor) }
    guard !link.isClassification || classes <= 1 || targets <= 1 else {
      throw learner.fault("one target for \(objective)", found: "\(targets)")
    }

    let booster = try Booster(learner.required("gradient_booster"))
    guard booster.leafWidth == 1 || booster.leafWidth == outputs else {
      throw booster.model.fault("leaves of \(outputs) values", found: "\(booster.leafWidth)")
    }
    let (kept, notes) = try keptTrees(booster, outputs: outputs)
    var trees = TreeModel(comparison: .below, sums: .float32, outputs: outputs, trees: [])
    trees.columns = columns
    for index in 0..<kept { trees.trees.append(try tree(booster.trees[index], index, booster)) }
    let score = try start(parameters.required("base_score"), outputs: outputs, margin: margin)
    // Before 1.3, and with DART before 1.4, the library added up the trees first.
    if isWritten(since: 1, booster.isDart ? 4 : 3) { trees.start = score } else { trees.bias = score }
    return ImportedModel(
      source: "XGBoost \(versionWords)", objective: objective, features: try features(booster), element: .float32,
      ensemble: try trees.imported(), outputs: outputs, link: link, notes: notes)
  }

  // MARK: - objective

  /// Conversion of `base_score` to what the sums start with.
  private enum Margin {
    case identity
    case logit
    case logarithm
  }

  /// Source: the classes of `src/objective` in XGBoost, `PredTransform` and `ProbToMargin` of each.
  private func link(
    of objective: String, outputs: Int, at field: ForeignField
  ) throws(TrainingError) -> (ImportedModel.Link, Margin) {
    switch objective {
    case "reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
      "rank:pairwise", "rank:ndcg", "rank:map":
      return (.identity, .identity)
    case "reg:quantileerror":
      guard outputs == 1 || !isWritten(since: 3, 4) else {
        throw field.fault("one quantile: XGBoost sorts several since 3.4", found: "\(outputs) quantiles")
      }
      return (.identity, .identity)
    case "reg:expectileerror":
      guard outputs == 1 else {
        throw field.fault("one expectile: XGBoost adds several up", found: "\(outputs) expectiles")
      }
      return (.identity, .identity)
    case "reg:logistic": return (.logistic(factor: 1), .logit)
    case "binary:logistic": return (.binary(factor: 1), .logit)
    case "binary:logitraw": return (.identity, isWritten(since: 1, 3, 1) ? .identity : .logit)
    case "binary:hinge": return (.sign, .identity)
    case "count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft":
      return (.exponential, .logarithm)
    case "multi:softprob", "multi:softmax": return (.softmax, .identity)
    default:
      throw field.fault(
        "an objective that this version of the trainer knows", found: objective.quotedForMessage)
    }
  }

  /// Number that the sum of each output starts with, in fp32 as the library computes it.
  private func start(_ field: ForeignField, outputs: Int, margin: Margin) throws(TrainingError) -> [Double] {
    // A number as text, or from 3.1 on a list as text.
    let text: String
    switch field.value {
    case .text(let found): text = found
    case .number(let number): text = String(number)
    default: throw field.fault("a number, or a list of them, as text")
    }
    let inner = text.hasPrefix("[") && text.hasSuffix("]") ? String(text.dropFirst().dropLast()) : text
    var scores: [Float] = []
    for part in inner.split(separator: ",") {
      guard let number = NumberText.parse(part), Float(number).isFinite else {
        throw field.fault("a finite number", found: text.quotedForMessage)
      }
      scores.append(Float(number))
    }
    guard scores.count == 1 || scores.count == outputs else {
      throw field.fault("1 or \(outputs) numbers", found: "\(scores.count)")
    }
    let margins = scores.map { score in
      switch margin {
      case .identity: score
      case .logit:
        // Since 3.2 the library keeps the score that far from 0 and 1.
        -logf(1 / (isWritten(since: 3, 2) ? min(max(score, 1e-6), 1 - 1e-6) : score) - 1)
      case .logarithm: logf(score)
      }
    }
    guard margins.allSatisfy(\.isFinite) else {
      throw field.fault("a base score within the range of the objective's answers", found: text.quotedForMessage)
    }
    return margins.count == outputs ? margins.map { Double($0) } : (0..<outputs).map { _ in Double(margins[0]) }
  }

  // MARK: - trees

  /// The trees of a booster, wherever its kind keeps them.
  private struct Booster {
    let isDart: Bool
    let model: ForeignField
    let trees: [ForeignField]
    /// Output of each tree.
    let outputs: [Int]
    /// Factor of each tree; 1 for trees beyond the list.
    let weights: [Double]
    let leafWidth: Int

    init(_ booster: ForeignField) throws(TrainingError) {
      let name = try booster.required("name").text
      isDart = name == "dart"
      switch name {
      case "gbtree":
        model = try booster.required("model")
        // Development versions after 3.2 keep the weights of DART beside the trees of a gbtree.
        let drop = try model.optional("weight_drop")
        weights = try (drop == nil ? booster.optional("weight_drop") : drop)?.numbers() ?? []
      case "dart":
        let inner = try booster.required("gbtree")
        model = try inner.required("model")
        let outer = try booster.optional("weight_drop")
        guard let drop = try outer == nil ? inner.optional("weight_drop") : outer else {
          throw booster.fault("weight_drop, without which dropped trees would count in full", found: "none")
        }
        weights = try drop.numbers()
      default:
        throw try booster.required("name").fault("gbtree or dart, a booster of trees", found: name.quotedForMessage)
      }
      trees = try model.required("trees").elements
      guard let first = trees.first else { throw try model.required("trees").fault("a tree", found: "none") }
      let treeCount = try model.required("gbtree_model_param", "num_trees").integer(in: 0...Limits.treesMax)
      guard trees.count == treeCount else {
        throw try model.required("trees").fault("\(treeCount) trees, as num_trees says", found: "\(trees.count)")
      }
      outputs = try model.required("tree_info").integers(in: 0...Limits.columnsMax, count: trees.count)
      guard weights.count <= trees.count else {
        throw model.fault("at most \(trees.count) weights of trees", found: "\(weights.count)")
      }
      let width = try first.optional("tree_param")?.optional("size_leaf_vector")?.integer(in: 0...Limits.columnsMax)
      leafWidth = max(width ?? 1, 1)
    }
  }

  /// How many of the trees to keep: those up to the best iteration, as the library's estimators do, or as the user
  /// says.
  private func keptTrees(_ booster: Booster, outputs: Int) throws(TrainingError) -> (Int, notes: [String]) {
    let parallel = max(
      try booster.model.required("gbtree_model_param").optional("num_parallel_tree")?.integer(in: 0...Limits.treesMax)
        ?? 1, 1)
    let perIteration = booster.leafWidth > 1 ? parallel : parallel * outputs
    var ends = try booster.model.optional("iteration_indptr")?.integers(in: 0...booster.trees.count) ?? []
    if ends.count < 2 {
      guard booster.trees.count % perIteration == 0 else {
        throw booster.model.fault(
          "a multiple of \(perIteration) trees, which one iteration has", found: "\(booster.trees.count)")
      }
      ends = Array(stride(from: 0, through: booster.trees.count, by: perIteration))
    }
    guard ends.first == 0, ends.last == booster.trees.count, zip(ends, ends.dropFirst()).allSatisfy(<=) else {
      throw booster.model.fault(
        "iteration_indptr that ascends from 0 to \(booster.trees.count)", found: Self.list(ends))
    }
    let iterations = ends.count - 1
    let best = try learner.optional("attributes")?.optional("best_iteration")?.integer(in: 0...Int(Int32.max))
    switch settings.iterations {
    case .first(let count):
      guard count <= iterations else {
        throw .importing("--iterations: expected 1 to \(iterations), found \(count)")
      }
      return (ends[count], ["the first \(count) of \(iterations) iterations are kept"])
    case .best:
      guard let best, best + 1 < iterations else { return (booster.trees.count, []) }
      return (
        ends[best + 1],
        [
          "early stopping chose iteration \(best): \(best + 1) of \(iterations) iterations are kept; --iterations all keeps all"
        ]
      )
    case .all: return (booster.trees.count, [])
    }
  }

  /// The first few of some numbers.
  private static func list(_ numbers: [Int]) -> String {
    numbers.prefix(8).map { String($0) }.joined(separator: ", ") + (numbers.count > 8 ? ", …" : "")
  }

  private func tree(
    _ tree: ForeignField, _ index: Int, _ booster: Booster
  ) throws(TrainingError) -> TreeModel.Tree {
    let left = try tree.required("left_children").integers(in: -1...Limits.treeNodesMax)
    let count = left.count
    let right = try tree.required("right_children").integers(in: -1...Limits.treeNodesMax, count: count)
    let column = try tree.required("split_indices").integers(in: 0...Int(Int32.max), count: count)
    let condition = try tree.required("split_conditions").numbers(count: count)
    let defaultLeft = try tree.required("default_left").numbers(count: count)
    // Before 1.3 there were no categorical splits.
    let type = try tree.optional("split_type")?.integers(in: 0...1, count: count) ?? []
    let sets = type.contains(1) ? try Categories(tree) : nil
    let weight = index < booster.weights.count ? Float(booster.weights[index]) : 1
    let vectors = booster.leafWidth > 1 ? try LeafVectors(tree, width: booster.leafWidth, nodes: count) : nil

    var nodes: [TreeModel.Node] = []
    nodes.reserveCapacity(count)
    for node in 0..<count {
      if left[node] < 0 {
        let values = try vectors?.values(of: node, reference: right[node]) ?? [condition[node]]
        nodes.append(.leaf(values.map { Double(Float($0) * weight) }))
        continue
      }
      let goesLeft = defaultLeft[node] != 0
      guard !type.isEmpty, type[node] == 1, let sets else {
        nodes.append(
          .split(
            .init(
              column: column[node], test: .threshold(Double(Float(condition[node]))),
              missing: goesLeft ? .left : .right, left: left[node], right: right[node])))
        continue
      }
      // The listed categories go right in the library, and left in a set: the children change places.
      nodes.append(
        .split(
          .init(
            column: column[node], test: .categories(try sets.members(of: node)), missing: goesLeft ? .right : .left,
            left: right[node], right: left[node])))
    }
    // Trees with vectors as leaves keep no sums of hessians, and sums below 0, which objectives of the user's own may
    // give, are no weights.
    var covers: [Double] = []
    if booster.leafWidth == 1, let sums = try tree.optional("sum_hessian") { covers = try sums.numbers(count: count) }
    return .init(
      nodes: nodes, output: booster.leafWidth > 1 ? 0 : booster.outputs[index],
      covers: covers.allSatisfy { $0 >= 0 } ? covers : [])
  }

  /// Categories of the splits of one tree, as segments of one list.
  private struct Categories {
    private var all: [Int]
    private var ranges: [Int: Range<Int>] = [:]
    private let field: ForeignField

    init(_ tree: ForeignField) throws(TrainingError) {
      field = try tree.required("categories")
      all = try field.integers(in: 0...(Limits.categoriesMax - 1))
      let nodes = try tree.required("categories_nodes").integers(in: 0...Limits.treeNodesMax)
      let starts = try tree.required("categories_segments").integers(in: 0...all.count, count: nodes.count)
      let sizes = try tree.required("categories_sizes").integers(in: 0...all.count, count: nodes.count)
      // The library's segments do not overlap; a hostile file whose many splits share a large one would otherwise take a
      // copy for each.
      let named = sizes.reduce(0, +)
      guard named <= all.count else {
        throw field.fault("\(named) categories, as categories_sizes says", found: "\(all.count)")
      }
      for (index, node) in nodes.enumerated() {
        guard starts[index] + sizes[index] <= all.count else {
          throw field.fault(
            "\(starts[index] + sizes[index]) categories, as the segment of node \(node) says", found: "\(all.count)")
        }
        ranges[node] = starts[index]..<(starts[index] + sizes[index])
      }
    }

    func members(of node: Int) throws(TrainingError) -> [Int] {
      guard let range = ranges[node] else { throw field.fault("categories for node \(node)", found: "none") }
      return Array(all[range])
    }
  }

  /// Leaves that hold a value for each output.
  private struct LeafVectors {
    private let values: [Double]
    private let width: Int
    /// Leaves by number, from 3.1 on; before, each node has its values.
    private let isByLeaf: Bool
    private let field: ForeignField

    init(_ tree: ForeignField, width: Int, nodes: Int) throws(TrainingError) {
      let leaves = try tree.optional("leaf_weights")
      isByLeaf = leaves != nil
      if let leaves { field = leaves } else { field = try tree.required("base_weights") }
      values = try leaves == nil ? field.numbers(count: nodes * width) : field.numbers()
      self.width = width
    }

    func values(of node: Int, reference: Int) throws(TrainingError) -> [Double] {
      let row = isByLeaf ? reference : node
      guard row >= 0, row < values.count / width else {
        throw field.fault("values for leaf \(row) at node \(node)", found: "\(values.count / width) leaves")
      }
      return Array(values[(row * width)..<((row + 1) * width)])
    }
  }

  // MARK: - features

  private func features(_ booster: Booster) throws(TrainingError) -> [Feature] {
    let names = try learner.optional("feature_names")?.texts ?? []
    guard names.isEmpty || names.count == columns else {
      throw try learner.required("feature_names").fault("\(columns) names", found: "\(names.count)")
    }
    let encodings = try booster.model.optional("cats")?.optional("enc")?.elements ?? []
    guard encodings.isEmpty || encodings.count == columns else {
      throw booster.model.fault("cats.enc of \(columns) columns", found: "\(encodings.count)")
    }
    var features: [Feature] = []
    for column in 0..<columns {
      let categories = encodings.isEmpty ? [] : try Self.categories(encodings[column])
      features.append(
        Feature(
          name: names.isEmpty ? "f\(column)" : names[column],
          kind: categories.isEmpty ? .numeric : .categorical(categories: categories, unknown: .refuse),
          missing: .impute))
    }
    return features
  }

  /// Category names of a column, in the order of their codes; none for a column of numbers.
  private static func categories(_ encoding: ForeignField) throws(TrainingError) -> [String] {
    let values = try encoding.required("values").numbers()
    guard let offsets = try encoding.optional("offsets") else {
      return values.map { Int(exactly: $0).map { String($0) } ?? String($0) }
    }
    let ends = try offsets.integers(in: 0...values.count)
    let bytes = try encoding.required("values").integers(in: -128...255).map { UInt8(truncatingIfNeeded: $0) }
    var names: [String] = []
    for (start, end) in zip(ends, ends.dropFirst()) {
      guard start <= end, let name = String(validating: bytes[start..<end], as: UTF8.self) else {
        throw offsets.fault("ascending ends of names in UTF-8", found: "\(start) and \(end)")
      }
      names.append(name)
    }
    return names
  }
}
