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
  private struct Section {
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

  private let header: Section
  private let trees: [Section]
  /// Categories of the columns that were categorical in pandas, in the order of these columns.
  private let pandasCategories: [[String]]
  private let isAverage: Bool
  private let settings: ImportSettings

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
    let columns = try header.integer("max_feature_idx", in: 0...(Limits.columnsMax - 1)) + 1
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
    for index in 0..<(iterations * outputs) {
      model.trees.append(try tree(trees[index], output: index % outputs))
    }
    return ImportedModel(
      source: "LightGBM, format \(version)", objective: objective, features: try features(columns), element: .float64,
      ensemble: try model.imported(), outputs: outputs, link: link, notes: notes)
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
    if words.contains("sqrt") {
      throw .importing(
        "header: objective: expected sums that are the answers, found reg_sqrt, which squares them and is not known")
    }
    let link: ImportedModel.Link
    switch words.first ?? "custom" {
    case "regression", "regression_l2", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank",
      "rank_xendcg", "custom", "none", "null", "na":
      link = .identity
    case "poisson", "gamma", "tweedie": link = .exponential
    case "binary": link = .binary(factor: try parameter("sigmoid"))
    case "cross_entropy", "xentropy": link = .logistic(factor: 1)
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

  private func tree(_ tree: Section, output: Int) throws(TrainingError) -> TreeModel.Tree {
    let leaves = try tree.integer("num_leaves", in: 1...Limits.treeNodesMax)
    guard try tree.integer("is_linear", in: 0...1, default: 0) == 0 else {
      throw .importing("\(tree.name): is_linear: expected constant leaves, found linear ones, which are not known")
    }
    let values = try tree.numbers("leaf_value", count: leaves)
    let splits = leaves - 1
    // The library weighs by rows, not by hessians, where it explains. A tree of one leaf has no count.
    let counts =
      leaves == 1 ? [1] : tree.fields["leaf_count"] == nil ? [] : try tree.numbers("leaf_count", count: leaves)
    let leafNodes = values.map { TreeModel.Node.leaf([$0]) }
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

  // MARK: - features

  private func features(_ columns: Int) throws(TrainingError) -> [Feature] {
    let names = header.fields["feature_names"]?.split(separator: " ").map { String($0) } ?? []
    guard names.isEmpty || names.count == columns else {
      throw .importing("header: feature_names: expected \(columns) names, found \(names.count)")
    }
    let categories = try categories(names)
    return (0..<columns).map { column in
      var kind = Feature.Kind.numeric
      if let (categories, isOrdered) = categories[column] {
        // What is none of the categories is missing for LightGBM. Splits by sets send both right; splits of ordered
        // categories are numeric, where only a missing value takes its way.
        kind = .categorical(categories: categories, unknown: isOrdered ? .refuse : .zeros)
      }
      return Feature(name: names.isEmpty ? "Column_\(column)" : names[column], kind: kind, missing: .impute)
    }
  }

  /// Categories of pandas by column. The file has their lists, but says only in part to which columns they belong: its
  /// header tells the codes of a column of categories, `0:1:2`, from the bounds of one of numbers, `[0:1]`, and says
  /// `none` of a column without splits, whatever it holds. A column of codes may also be one of integers, without a list.
  private func categories(
    _ names: [String]
  ) throws(TrainingError) -> [Int: (categories: [String], isOrdered: Bool)] {
    let infos = header.fields["feature_infos"]?.split(separator: " ") ?? []
    var places: [Int] = []
    if settings.categoryColumns.isEmpty {
      let lists = infos.indices.filter { infos[$0].first != "[" && infos[$0] != "none" }
      let open = infos.indices.filter { infos[$0].first != "[" }
      places = lists.count == pandasCategories.count ? lists : onlyPlaces(for: pandasCategories, among: open, infos)
    } else {
      for name in settings.categoryColumns {
        guard let place = names.firstIndex(of: name) else {
          throw .importing("--category-columns: expected names of features, found \(name.quotedForMessage)")
        }
        places.append(place)
      }
    }
    guard pandasCategories.isEmpty || places.count == pandasCategories.count else {
      throw .importing(
        "pandas_categorical: expected a column for each of \(pandasCategories.count) lists, found \(places.count) that "
          + "may be one; --category-columns names them in the order of the data frame")
    }
    var categories: [Int: (categories: [String], isOrdered: Bool)] = [:]
    for (place, list) in zip(places, pandasCategories) {
      let codes = place < infos.count ? infos[place].split(separator: ":").compactMap { Int($0) } : []
      guard codes.allSatisfy({ $0 < list.count }) else {
        throw .importing(
          "feature_infos, column \(place): expected codes of \(list.count) categories, found \(codes.max() ?? 0); "
            + "--category-columns names the columns of pandas_categorical in the order of the data frame")
      }
      categories[place] = (list, place < infos.count && infos[place].first == "[")
    }
    return categories
  }

  /// The columns of the lists, if their order and their codes leave one possibility; else all columns that may be one.
  ///
  /// Lists stand in the order of their columns, and a code is below the number of its list's categories. If each list
  /// takes the first column that it can, and then from the other end the last, and both agree, no other way exists.
  private func onlyPlaces(for lists: [[String]], among open: [Int], _ infos: [Substring]) -> [Int] {
    let codesMax = open.map { place in infos[place].split(separator: ":").compactMap { Int($0) }.max() ?? -1 }
    func taken(_ lists: [[String]], _ columns: [Int]) -> [Int] {
      var places: [Int] = []
      for column in columns where places.count < lists.count && codesMax[column] < lists[places.count].count {
        places.append(open[column])
      }
      return places
    }
    let first = taken(lists, Array(open.indices))
    let last = Array(taken(lists.reversed(), open.indices.reversed()).reversed())
    return first.count == lists.count && first == last ? first : open
  }
}
