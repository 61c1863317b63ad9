internal import NeedletailCore
internal import NeedletailEngine

/// Reads what `needletail.export` of the Python client writes: trees of scikit-learn's estimators, in the terms of the
/// engine. `clients/python/src/needletail/export` documents the format beside the code that writes it.
struct ExportImport {
  static let formatName = "needletail.export"

  static func recognises(_ document: ForeignField) -> Bool {
    (try? document.optional("format")?.text) == formatName
  }

  static func read(_ document: ForeignField, _ settings: ImportSettings) throws(TrainingError) -> ImportedModel {
    _ = try document.required("version").integer(in: 1...1)
    let element: ValueType.Element
    switch try document.required("element").text {
    case "float32": element = .float32
    case "float64": element = .float64
    case let other: throw try document.required("element").fault("float32 or float64", found: other.quotedForMessage)
    }
    let outputs = try document.required("outputs").integer(in: 1...Limits.columnsMax)
    let width = try document.required("leaf_width").integer(in: 1...Limits.columnsMax)
    guard width == 1 || width == outputs else {
      throw try document.required("leaf_width").fault("1 or \(outputs)", found: "\(width)")
    }
    let features = try Self.features(document.required("features"))
    var sums = TreeEnsemble.Sums.float64
    if let field = try document.optional("sums") {
      switch try field.text {
      case "float32": sums = .float32
      case "float64": sums = .float64
      case let other: throw field.fault("float32 or float64", found: other.quotedForMessage)
      }
    }
    var trees = TreeModel(comparison: .atMost, sums: sums, outputs: outputs, trees: [])
    trees.columns = features.count
    trees.start = try document.optional("start")?.numbers(count: outputs) ?? []
    trees.divisor = try document.optional("divisor")?.number ?? 1
    for field in try document.required("trees").elements {
      trees.trees.append(try tree(field, outputs: outputs, width: width))
    }
    guard !trees.trees.isEmpty else { throw try document.required("trees").fault("a tree", found: "none") }
    var model = ImportedModel(
      source: try document.required("source").text, objective: try document.required("objective").text,
      features: features, element: element, ensemble: try trees.imported(), outputs: outputs,
      link: try link(document.required("link"), outputs: outputs))
    model.labels = try document.optional("labels")?.texts ?? []
    return model
  }

  private static func link(_ field: ForeignField, outputs: Int) throws(TrainingError) -> ImportedModel.Link {
    let link: ImportedModel.Link
    switch try field.text {
    case "identity": return .identity
    case "exponential": return .exponential
    case "probabilities": link = .probabilities
    case "softmax": link = .softmax
    case "binary":
      guard outputs == 1 else { throw field.fault("another link for \(outputs) outputs") }
      return .binary(factor: 1)
    case let other:
      throw field.fault("identity, exponential, probabilities, softmax or binary", found: other.quotedForMessage)
    }
    guard outputs >= 2 else { throw field.fault("another link for one output") }
    return link
  }

  private static func features(_ field: ForeignField) throws(TrainingError) -> [Feature] {
    var features: [Feature] = []
    for feature in try field.elements {
      let categories = try feature.optional("categories")?.texts ?? []
      features.append(
        Feature(
          name: try feature.required("name").text,
          kind: categories.isEmpty
            ? .numeric
            : .categorical(
              categories: categories, unknown: try feature.optional("unknown")?.text == "refuse" ? .refuse : .zeros),
          missing: try feature.optional("missing")?.text == "refuse" ? .refuse : .impute))
    }
    return features
  }

  private static func tree(
    _ tree: ForeignField, outputs: Int, width: Int
  ) throws(TrainingError) -> TreeModel.Tree {
    let left = try tree.required("left").integers(in: -1...Limits.treeNodesMax)
    let count = left.count
    let right = try tree.required("right").integers(in: -1...Limits.treeNodesMax, count: count)
    let column = try tree.required("feature").integers(in: -2...Limits.columnsMax, count: count)
    let threshold = try tree.required("threshold").numbers(count: count)
    let missingLeft = try tree.optional("missing_left")?.numbers(count: count)
    let values = try tree.required("value").numbers(count: count * width)
    let output = try tree.optional("output")?.integer(in: 0...(outputs - 1)) ?? 0
    let sets = try tree.optional("sets")?.elements
    if let sets, sets.count != count { throw tree.fault("\(count) sets", found: "\(sets.count)") }
    var nodes: [TreeModel.Node] = []
    nodes.reserveCapacity(count)
    for node in 0..<count {
      guard left[node] >= 0 else {
        nodes.append(.leaf(Array(values[(node * width)..<((node + 1) * width)])))
        continue
      }
      var split = TreeModel.Split(
        column: column[node], test: .threshold(threshold[node]), left: left[node], right: right[node])
      if let missingLeft, missingLeft[node] != 0 { split.missing = .left } else { split.missing = .right }
      switch sets?[node].value {
      case nil, .null: break
      default:
        split.test = .categories(try sets?[node].integers(in: 0...(Limits.categoriesMax - 1)) ?? [])
      }
      nodes.append(.split(split))
    }
    let covers = try tree.optional("cover").map { (field) throws(TrainingError) in try field.numbers(count: count) }
    return .init(nodes: nodes, output: width > 1 ? 0 : output, covers: covers ?? [])
  }
}
