internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// Output of `bundle inspect`, for people and for programs.
struct BundleDescription: Encodable {
  struct Section: Encodable {
    let type, codec: String
    let isOptional: Bool
    let offset, storedBytes, rawBytes: Int
  }

  struct Feature: Encodable {
    let name, kind, missing: String
    let categories: [String]?
    let unknown: String?
    /// Buckets of unknown categories, where they are hashed.
    let buckets: Int?
    let description: String
  }

  struct Node: Encodable {
    let name, operation: String
    let inputColumns, outputColumns, parameters: Int
    let precision: String?
  }

  struct Output: Encodable {
    let name, kind: String
    let columns: Int
  }

  struct Origin: Encodable {
    let trainerVersion, family, dataSHA256, configuration, parent, quantisation: String
    let seed: UInt64
    let rows: Int
  }

  let model: String
  let version: UInt64
  let digest, created: String
  let expires: String?
  let engineMin: UInt32
  let fileBytes, rawBytes: Int
  let signatureKeyIDs: [String]
  let sections: [Section]
  let task, target: String
  /// Texts that mean a missing value; nil: the bundle compares text byte by byte.
  let missingWords: [String]?
  let features: [Feature]
  let nodes: [Node]
  let outputs: [Output]
  let parameters: Int
  let labels: [String]
  let metrics: [String: Double]
  let goldenSamples: Int
  let driftColumns: Int?
  let lineage: Origin?
}

extension BundleDescription {
  init(_ bundle: VerifiedBundle, _ contents: BundleContents) {
    let manifest = bundle.manifest
    let graph = contents.definition.graph
    model = manifest.model.name
    version = manifest.version.number
    digest = manifest.digest
    created = UnixTime.text(milliseconds: manifest.createdMilliseconds)
    expires =
      manifest.notAfterMilliseconds == 0 ? nil : UnixTime.text(milliseconds: manifest.notAfterMilliseconds)
    engineMin = manifest.engineMin
    fileBytes = bundle.fileBytes
    rawBytes = manifest.sections.reduce(0) { $0 + $1.rawBytes }
    signatureKeyIDs = bundle.signatureKeyIDs
    sections = manifest.sections.map {
      Section(
        type: $0.name, codec: $0.codec.description, isOptional: $0.isOptional, offset: $0.offset,
        storedBytes: $0.storedBytes, rawBytes: $0.rawBytes)
    }
    task = graph.task.rawValue
    target = contents.definition.schema.target
    missingWords = contents.definition.schema.rules?.missing
    features = contents.definition.schema.features.map(Feature.init)
    nodes = graph.nodes.indices.map { Node(graph.context(of: $0)) }
    outputs = graph.outputs.map {
      Output(name: $0.name, kind: $0.kind.word, columns: $0.kind == .number ? graph.values[$0.value].columns : 1)
    }
    parameters = graph.tensors.reduce(0) { $0 + $1.elementCount }
    labels = contents.definition.labels
    metrics = contents.metrics
    goldenSamples = contents.golden.count
    driftColumns = contents.drift?.features.count
    lineage = contents.lineage.map {
      Origin(
        trainerVersion: $0.trainerVersion, family: $0.family, dataSHA256: $0.dataSHA256,
        configuration: $0.configuration, parent: $0.parent, quantisation: $0.quantisation, seed: $0.seed,
        rows: $0.rows)
    }
  }
}

extension BundleDescription.Feature {
  init(_ feature: Feature) {
    name = feature.name
    missing = feature.missing == .refuse ? "refuse" : "impute"
    description = feature.summary
    buckets = feature.isHashed ? feature.buckets : nil
    switch feature.kind {
    case .numeric:
      kind = "numeric"
      categories = nil
      unknown = nil
    case .text:
      kind = "text"
      categories = nil
      unknown = nil
    case .datetime:
      kind = "datetime"
      categories = nil
      unknown = nil
    case .categorical(let names, let policy):
      kind = "categorical"
      categories = names
      unknown =
        switch policy {
        case .refuse: "refuse"
        case .zeros: "zeros"
        case .other: "other"
        case .hash: "hash"
        }
    }
  }
}

extension BundleDescription.Node {
  init(_ context: OperationContext) {
    let operation = context.node.operation
    let tensors = operation.tensors.map { context.graph.tensors[$0] }
    name = context.node.name
    self.operation = operation.words
    inputColumns = context.inputs.reduce(0) { $0 + $1.columns }
    outputColumns = context.outputs.reduce(0) { $0 + $1.columns }
    parameters = operation.parameterCount + tensors.reduce(0) { $0 + $1.elementCount }
    precision = tensors.isEmpty ? nil : tensors.contains(where: \.isInt8) ? "int8" : "fp32"
  }
}

extension OutputKind {
  var word: String {
    switch self {
    case .number: "number"
    case .classIndex: "class index"
    case .classLabel: "class label"
    }
  }
}

extension BundleDescription {
  /// The description as a terminal shows it.
  var text: String {
    ([identity, sectionTable, featureTable, graphTable, outputTable]
      + [labelText, metricTable, history].filter { !$0.isEmpty })
      .map { $0.joined(separator: "\n") }.joined(separator: "\n\n")
  }

  private var identity: [String] {
    ["\(BundleOutput.plain(model)) version \(version)"]
      + pairs([
        ("digest", digest),
        ("created", created),
        ("expires", expires ?? "never"),
        ("engine", "generation \(engineMin) or newer"),
        ("size", "\(BundleOutput.grouped(fileBytes)) bytes, sections \(BundleOutput.grouped(rawBytes)) raw"),
        (
          "signatures",
          signatureKeyIDs.isEmpty ? "none" : "key id " + signatureKeyIDs.joined(separator: ", ")
        ),
        ("missing words", missingWords.map { BundleOutput.plain($0.joined(separator: ", ")) } ?? "none but empty text"),
        (
          "checks",
          "\(BundleOutput.counted(goldenSamples, "golden sample")), drift baseline \(driftColumns.map { "of \(BundleOutput.counted($0, "feature"))" } ?? "absent")"
        ),
      ])
  }

  private var sectionTable: [String] {
    var table = TextTable([
      ("section", .left), ("codec", .left), ("offset", .right), ("stored", .right), ("raw", .right), ("", .left),
    ])
    for section in sections {
      table.rows.append([
        section.type, section.codec, BundleOutput.grouped(section.offset), BundleOutput.grouped(section.storedBytes),
        BundleOutput.grouped(section.rawBytes), section.isOptional ? "optional" : "",
      ])
    }
    return ["Sections"] + table.lines()
  }

  /// A wide table has thousands of columns; people want the first.
  private static let rowsShownMax = 64

  private var featureTable: [String] {
    var table = TextTable([
      ("#", .right), ("feature", .left), ("kind", .left), ("missing", .left), ("unknown", .left),
      ("description", .left),
    ])
    for (index, feature) in features.prefix(Self.rowsShownMax).enumerated() {
      table.rows.append([
        String(index), BundleOutput.plain(feature.name),
        feature.categories.map { "\(BundleOutput.grouped($0.count)) categories" } ?? feature.kind,
        feature.missing, (feature.unknown ?? "") + (feature.buckets.map { " into \($0)" } ?? ""),
        BundleOutput.plain(feature.description),
      ])
    }
    return ["Features, to predict \(target.quotedForMessage)"] + table.lines() + rest(features.count)
  }

  private var graphTable: [String] {
    var table = TextTable([
      ("#", .right), ("node", .left), ("operation", .left), ("columns", .left), ("parameters", .right),
      ("precision", .left),
    ])
    for (index, node) in nodes.prefix(Self.rowsShownMax).enumerated() {
      table.rows.append([
        String(index), BundleOutput.plain(node.name), node.operation, "\(node.inputColumns) → \(node.outputColumns)",
        node.parameters == 0 ? "" : BundleOutput.grouped(node.parameters), node.precision ?? "",
      ])
    }
    return ["Graph, \(task), \(BundleOutput.counted(parameters, "weight"))"] + table.lines() + rest(nodes.count)
  }

  private var outputTable: [String] {
    var table = TextTable([("output", .left), ("kind", .left), ("columns", .right)])
    for output in outputs {
      table.rows.append([BundleOutput.plain(output.name), output.kind, String(output.columns)])
    }
    return ["Outputs"] + table.lines()
  }

  private var labelText: [String] {
    guard !labels.isEmpty else { return [] }
    return ["Labels"] + ["  " + labels.prefix(Self.rowsShownMax).map(BundleOutput.plain).joined(separator: ", ")]
      + rest(labels.count)
  }

  private var metricTable: [String] {
    guard !metrics.isEmpty else { return [] }
    var table = TextTable([("metric", .left), ("value", .right)])
    for (name, value) in metrics.sorted(by: { $0.key < $1.key }) {
      table.rows.append([BundleOutput.plain(name), String(value)])
    }
    return ["Training metrics"] + table.lines()
  }

  private var history: [String] {
    guard let lineage else { return [] }
    let configuration = lineage.configuration.split(separator: "\n").map { "    " + BundleOutput.plain(String($0)) }
    return ["Lineage"]
      + pairs([
        ("trainer", BundleOutput.plain(lineage.trainerVersion)),
        ("family", BundleOutput.plain(lineage.family)),
        ("rows", BundleOutput.grouped(lineage.rows)),
        ("seed", String(lineage.seed)),
        ("data", BundleOutput.plain(lineage.dataSHA256)),
        ("parent", lineage.parent.isEmpty ? "none" : BundleOutput.plain(lineage.parent)),
        ("quantised", BundleOutput.plain(lineage.quantisation)),
      ]) + (configuration.isEmpty ? [] : ["  configuration"] + configuration)
  }

  private func pairs(_ pairs: [(name: String, value: String)]) -> [String] {
    let width = pairs.map(\.name.count).max() ?? 0
    return pairs.map { "  \($0.name)\(String(repeating: " ", count: width - $0.name.count))  \($0.value)" }
  }

  private func rest(_ count: Int) -> [String] {
    count > Self.rowsShownMax
      ? ["  … and \(BundleOutput.grouped(count - Self.rowsShownMax)) more; --json shows all"] : []
  }
}
