internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// What `bundle inspect` shows, for people and for programs.
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
    switch feature.kind {
    case .numeric:
      kind = "numeric"
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
