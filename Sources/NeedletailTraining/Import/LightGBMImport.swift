internal import NeedletailCore
internal import NeedletailEngine

/// Reads text models of LightGBM, versions v2 to v4 of the format, as `Booster.save_model` writes them.
///
/// Source of the format: `src/boosting/gbdt_model_text.cpp` and `src/io/tree.cpp` of LightGBM. Features, thresholds and
/// sums are fp64; a value goes left where it is ≤ the threshold.
struct LightGBMImport {
  /// Whether a file begins as a text model.
  static func recognises(_ bytes: [UInt8]) -> Bool {
    let start = bytes.prefix(5)
    return start.elementsEqual("tree\n".utf8) || start.elementsEqual("tree\r".utf8)
  }

  static func read(_ bytes: [UInt8], _ settings: ImportSettings) throws(TrainingError) -> ImportedModel {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw .importing("expected text in UTF-8, found other bytes")
    }
    return try LightGBMImport(text, settings).model()
  }

  /// Lines `key=value` between two markers.
  struct Section {
    let name: String
    var fields: [Substring: Substring] = [:]

    func required(_ key: Substring) throws(TrainingError) -> Substring {
      guard let value = fields[key] else { throw .importing("\(name): expected \(key)=…, found none") }
      return value
    }

    func integer(_ key: Substring, in range: ClosedRange<Int>, default value: Int? = nil) throws(TrainingError) -> Int {
      if let value, fields[key] == nil { return value }
      let text = try required(key)
      guard let number = Int(text), range.contains(number) else {
        throw .importing(
          "\(name): \(key): expected a whole number from \(range.lowerBound) to \(range.upperBound), found "
            + String(text).quotedForMessage)
      }
      return number
    }

    /// Numbers separated by spaces.
    func numbers(_ key: Substring, count: Int) throws(TrainingError) -> [Double] {
      let parts = try required(key).split(separator: " ")
      guard parts.count == count else {
        throw .importing("\(name): \(key): expected \(count) numbers, found \(parts.count)")
      }
      var numbers: [Double] = []
      numbers.reserveCapacity(count)
      for part in parts {
        guard let number = LightGBMImport.number(part) else {
          throw .importing("\(name): \(key): expected a number, found \(String(part).quotedForMessage)")
        }
        numbers.append(number)
      }
      return numbers
    }

    func integers(_ key: Substring, in range: ClosedRange<Int>, count: Int) throws(TrainingError) -> [Int] {
      var integers: [Int] = []
      for number in try numbers(key, count: count) {
        guard let integer = Int(exactly: number), range.contains(integer) else {
          throw .importing(
            "\(name): \(key): expected whole numbers from \(range.lowerBound) to \(range.upperBound), found \(number)")
        }
        integers.append(integer)
      }
      return integers
    }
  }

  let header: Section
  private let trees: [Section]
  /// Categories of the columns that were categorical in pandas, in the order of these columns.
  let pandasCategories: [[String]]
  private let isAverage: Bool
  let settings: ImportSettings

  private init(_ text: String, _ settings: ImportSettings) throws(TrainingError) {
    self.settings = settings
    var header = Section(name: "header")
    var trees: [Section] = []
    var pandas: [[String]] = []
    var isAverage = false
    var isBehindTrees = false
    for line in text.split(whereSeparator: \.isNewline) {
      if line == "end of trees" {
        isBehindTrees = true
      } else if let equals = line.firstIndex(of: "=") {
        guard !isBehindTrees else { continue }
        let (key, value) = (line[..<equals], line[line.index(after: equals)...])
        if key == "Tree" {
          guard trees.count < Limits.treesMax else {
            throw .importing("expected at most \(Limits.treesMax) trees, found more")
          }
          trees.append(Section(name: "tree \(trees.count)"))
        } else if trees.isEmpty {
          header.fields[key] = value
        } else {
          trees[trees.count - 1].fields[key] = value
        }
      } else if line == "average_output", trees.isEmpty {
        isAverage = true
      } else if line.hasPrefix("pandas_categorical:") {
        pandas = try Self.categories(line.dropFirst("pandas_categorical:".count))
      }
    }
    guard isBehindTrees else { throw .importing("expected the line \"end of trees\", found the end of the file") }
    guard !trees.isEmpty else { throw .importing("expected a tree, found none") }
    self.header = header
    self.trees = trees
    self.pandasCategories = pandas
    self.isAverage = isAverage
  }

  private static func categories(_ text: Substring) throws(TrainingError) -> [[String]] {
    if text == "null" { return [] }
    let field = ForeignField(value: try ForeignJSON.read(Array(text.utf8)), path: "pandas_categorical")
    var columns: [[String]] = []
    for column in try field.elements {
      var names: [String] = []
      for name in try column.elements {
        switch name.value {
        case .text(let text): names.append(text)
        case .boolean(let flag): names.append(flag ? "true" : "false")
        case .number(let number): names.append(Int(exactly: number).map { String($0) } ?? String(number))
        default: throw name.fault("text or a number")
        }
      }
      columns.append(names)
    }
    return columns
  }

  /// A number as `%.17g` writes it.
  private static func number(_ text: Substring) -> Double? {
    switch text {
    case "inf", "+inf": .infinity
    case "-inf": -.infinity
    case "nan", "-nan": .nan
    default: NumberText.parse(text)
    }
  }

  // MARK: - model

  private func model() throws(TrainingError) -> ImportedModel {
    let version = String(header.fields["version"] ?? "v2")
    guard ["v2", "v3", "v4"].contains(version) else {
      throw .importing("header: version: expected v2, v3 or v4, found \(version.quotedForMessage)")
    }
    let columns = try header.integer("max_feature_idx", in: 0...(Limits.featuresMax - 1)) + 1
    let outputs = try header.integer("num_tree_per_iteration", in: 1...Limits.columnsMax, default: 1)
    let objective = String(header.fields["objective"] ?? "custom")
    let link = try Self.link(of: objective, outputs: outputs)
    guard trees.count % outputs == 0 else {
      throw .importing("expected a multiple of \(outputs) trees, which one iteration has, found \(trees.count)")
    }
    var iterations = trees.count / outputs
    var notes: [String] = []
    if case .first(let count) = settings.iterations {
      guard count <= iterations else {
        throw .importing("--iterations: expected 1 to \(iterations), found \(count)")
      }
      notes.append("the first \(count) of \(iterations) iterations are kept")
      iterations = count
    }
    var model = TreeModel(comparison: .atMost, sums: .float64, outputs: outputs, trees: [])
    model.columns = columns
    model.flushesTiny = true
    if isAverage { model.divisor = Double(iterations) }
    var isLinear = false
    for tree in trees where try tree.integer("is_linear", in: 0...1, default: 0) == 1 { isLinear = true }
    var leaves = Leaves(isLinear: isLinear)
    for index in 0..<(iterations * outputs) {
      model.trees.append(try tree(trees[index], output: index % outputs, columns: columns, &leaves))
    }
    var ensemble = try model.imported()
    let linearLeaves = isLinear ? leaves.ordered(as: &ensemble) : nil
    return ImportedModel(
      source: "LightGBM, format \(version)", objective: objective, features: try features(columns), element: .float64,
      ensemble: ensemble, linearLeaves: linearLeaves, outputs: outputs, link: link, notes: notes)
  }

  /// Source: `ConvertOutput` of the classes in LightGBM's `src/objective`.
  private static func link(of objective: String, outputs: Int) throws(TrainingError) -> ImportedModel.Link {
    let words = objective.split(separator: " ")
    func parameter(_ name: String) throws(TrainingError) -> Float {
      guard let word = words.first(where: { $0.hasPrefix("\(name):") }) else { return 1 }
      guard let number = NumberText.parse(word.dropFirst(name.count + 1)), number > 0, Float(number).isFinite else {
        throw .importing(
          "header: objective: expected a number above 0 as \(name), found \(String(word).quotedForMessage)")
      }
      return Float(number)
    }
    let link: ImportedModel.Link
    switch words.first ?? "custom" {
    case "regression", "regression_l2", "regression_l1", "huber", "fair", "quantile", "mape":
      // `reg_sqrt` fits signed square roots of the targets.
      link = words.contains("sqrt") ? .signedSquare : .identity
    case "lambdarank", "rank_xendcg", "custom", "none", "null", "na": link = .identity
    case "poisson", "gamma", "tweedie": link = .exponential
    case "binary": link = .binary(factor: try parameter("sigmoid"))
    case "cross_entropy", "xentropy": link = .logistic(factor: 1)
    case "cross_entropy_lambda", "xentlambda": link = .softplus
    case "multiclass", "softmax": link = .softmax
    case "multiclassova", "multiclass_ova", "ova", "ovr": link = .oneVersusAll(factor: try parameter("sigmoid"))
    default:
      throw .importing(
        "header: objective: expected one that this version of the trainer knows, found \(objective.quotedForMessage)")
    }
    let isManyClasses: Bool
    switch link {
    case .softmax, .oneVersusAll: isManyClasses = true
    default: isManyClasses = false
    }
    guard isManyClasses ? outputs >= 2 : outputs == 1 || link == .identity else {
      throw .importing("header: num_tree_per_iteration: expected one that fits \(objective), found \(outputs)")
    }
    return link
  }

  private func tree(
    _ tree: Section, output: Int, columns: Int, _ known: inout Leaves
  ) throws(TrainingError) -> TreeModel.Tree {
    let leaves = try tree.integer("num_leaves", in: 1...Limits.treeNodesMax)
    let splits = leaves - 1
    // The library weighs by rows, not by hessians, where it explains. A tree of one leaf has no count. Answers of linear
    // leaves are no sums along a path, so that weights would explain nothing.
    let counts =
      known.isLinear || (leaves > 1 && tree.fields["leaf_count"] == nil)
      ? [] : leaves == 1 ? [1] : try tree.numbers("leaf_count", count: leaves)
    let first = known.values.count
    try known.add(tree, count: leaves, columns: columns)
    let leafNodes = (0..<leaves).map { leaf in
      // Linear leaves are called by their number until the order of the graph is known.
      TreeModel.Node.leaf([known.isLinear ? Double(first + leaf) : known.values[first + leaf]])
    }
    guard splits > 0 else { return .init(nodes: leafNodes, output: output, covers: counts) }
    let column = try tree.integers("split_feature", in: 0...Limits.columnsMax, count: splits)
    let threshold = try tree.numbers("threshold", count: splits)
    let decision = try tree.integers("decision_type", in: 0...255, count: splits)
    let left = try tree.integers("left_child", in: -leaves...(splits - 1), count: splits)
    let right = try tree.integers("right_child", in: -leaves...(splits - 1), count: splits)
    var sets = try Categories(tree)

    // Nodes of the file: splits from 0, then leaves; a child below 0 is leaf ~child.
    func node(_ child: Int) -> Int { child >= 0 ? child : splits + ~child }
    var nodes: [TreeModel.Node] = []
    nodes.reserveCapacity(splits + leaves)
    for index in 0..<splits {
      var split = TreeModel.Split(
        column: column[index], test: .threshold(threshold[index]), left: node(left[index]), right: node(right[index]))
      if decision[index] & 1 == 1 {
        // Missing and negative categories go right.
        split.test = .categories(try sets.members(threshold[index], split: index))
        split.missing = .right
      } else {
        split.missing = try Self.missing(decision[index], "\(tree.name), split \(index)")
      }
      nodes.append(.split(split))
    }
    let covers = counts.isEmpty ? [] : [Double](repeating: 0, count: splits) + counts
    return .init(nodes: nodes + leafNodes, output: output, covers: covers)
  }

  /// Leaves of all trees in the order of the file, with their terms if some tree of the model is linear.
  private struct Leaves {
    let isLinear: Bool
    private(set) var values: [Double] = []
    private var linear = ImportedModel.LinearLeaves()
    /// Place of each leaf's first term among all.
    private var firstTerms: [Int] = []

    init(isLinear: Bool) { self.isLinear = isLinear }

    mutating func add(_ tree: Section, count: Int, columns: Int) throws(TrainingError) {
      let added = try tree.numbers("leaf_value", count: count)
      values += added
      guard isLinear else { return }
      guard try tree.integer("is_linear", in: 0...1, default: 0) == 1 else {
        append(constants: added, termCounts: [Int](repeating: 0, count: count))
        return
      }
      let termCounts = try tree.integers("num_features", in: 0...columns, count: count)
      let terms = termCounts.reduce(0, +)
      append(constants: try tree.numbers("leaf_const", count: count), termCounts: termCounts)
      linear.termColumns += try tree.integers("leaf_features", in: 0...(columns - 1), count: terms).map { UInt32($0) }
      linear.coefficients += try tree.numbers("leaf_coeff", count: terms)
      for (key, numbers) in [
        ("leaf_value", added), ("leaf_const", linear.constants.suffix(count)),
        ("leaf_coeff", linear.coefficients.suffix(terms)),
      ] as [(String, any Sequence<Double>)] {
        if let number = numbers.first(where: { !$0.isFinite }) {
          throw .importing("\(tree.name): \(key): expected finite numbers, found \(number)")
        }
      }
    }

    private mutating func append(constants: [Double], termCounts: [Int]) {
      linear.constants += constants
      for count in termCounts {
        let first = firstTerms.last.map { $0 + Int(linear.termCounts[firstTerms.count - 1]) } ?? 0
        firstTerms.append(first)
        linear.termCounts.append(UInt32(count))
      }
    }

    /// The terms in the order of the leaves of an ensemble, whose leaves are numbers of leaves and become values.
    func ordered(as ensemble: inout TreeEnsemble) -> ImportedModel.LinearLeaves {
      var ordered = ImportedModel.LinearLeaves()
      for place in ensemble.leaves.indices {
        let leaf = Int(ensemble.leaves[place])
        ensemble.leaves[place] = values[leaf]
        ordered.constants.append(linear.constants[leaf])
        ordered.termCounts.append(linear.termCounts[leaf])
        let terms = firstTerms[leaf]..<firstTerms[leaf] + Int(linear.termCounts[leaf])
        ordered.termColumns += linear.termColumns[terms]
        ordered.coefficients += linear.coefficients[terms]
      }
      return ordered
    }
  }

  /// Treatment of missing values by a numeric split: bit 1 of its decision type is the default direction, and bits 2
  /// and 3 say which values are missing.
  private static func missing(_ decision: Int, _ place: String) throws(TrainingError) -> TreeEnsemble.Missing {
    let goesLeft = decision & 2 != 0
    switch decision >> 2 {
    case 0: return .asZero
    case 1: return goesLeft ? .orZeroLeft : .orZeroRight
    case 2: return goesLeft ? .left : .right
    default:
      throw .importing("\(place): decision_type: expected a known treatment of missing values, found \(decision)")
    }
  }

  /// Bit sets of the categorical splits of a tree, one after the other.
  private struct Categories {
    private let name: String
    private let ends: [Int]
    private let words: [Int]
    /// Number of words that no split has asked for yet. The library writes a set for each split; a hostile file whose many
    /// splits share one large set would otherwise take a copy for each.
    private var wordsLeft: Int

    init(_ tree: Section) throws(TrainingError) {
      name = tree.name
      let count = try tree.integer("num_cat", in: 0...Limits.treeNodesMax, default: 0)
      guard count > 0 else {
        ends = []
        words = []
        wordsLeft = 0
        return
      }
      ends = try tree.integers("cat_boundaries", in: 0...Limits.treeNodesMax, count: count + 1)
      words = try tree.integers("cat_threshold", in: 0...Int(UInt32.max), count: ends[count])
      wordsLeft = words.count
    }

    mutating func members(_ number: Double, split: Int) throws(TrainingError) -> [Int] {
      guard let set = Int(exactly: number), set >= 0, set + 1 < ends.count, ends[set] <= ends[set + 1],
        ends[set + 1] <= words.count
      else {
        throw .importing("\(name), split \(split): expected a set of categories, found number \(number)")
      }
      wordsLeft -= ends[set + 1] - ends[set]
      guard wordsLeft >= 0 else {
        throw .importing("\(name), split \(split): expected a set of its own, found number \(set) of another split")
      }
      var members: [Int] = []
      for (place, word) in words[ends[set]..<ends[set + 1]].enumerated() where word != 0 {
        for bit in 0..<32 where word >> bit & 1 == 1 { members.append(32 * place + bit) }
      }
      return members
    }
  }
}
