public import NeedletailCore
public import NeedletailEngine

/// The decoded sections of a bundle.
public struct BundleContents: Sendable, Equatable {
  /// Features, graph with weights, and labels.
  public var definition: ModelDefinition
  /// Inputs with the outputs that the trainer computed for them.
  public var golden: [GoldenSample]
  /// Distributions of the training data; nil if the trainer wrote none.
  public var drift: DriftBaseline?
  /// Training metrics by name, for example `test.accuracy`; finite.
  public var metrics: [String: Double]
  /// Origin of the model; nil if the trainer wrote none.
  public var lineage: Lineage?

  public init(
    definition: ModelDefinition, golden: [GoldenSample] = [], drift: DriftBaseline? = nil,
    metrics: [String: Double] = [:], lineage: Lineage? = nil
  ) {
    self.definition = definition
    self.golden = golden
    self.drift = drift
    self.metrics = metrics
    self.lineage = lineage
  }
}

/// Decodes the sections of a file whose layout and hashes were checked.
struct SectionReader {
  let file: UnsafeRawBufferPointer
  let manifest: BundleManifest
  /// The header's bits of features that a reader must know.
  let requiredFeatures: UInt64

  func contents() throws(BundleError) -> BundleContents {
    for section in manifest.sections where section.type == .tokenizer || section.type == .calibration {
      guard section.isOptional else {
        throw BundleError(
          .unsupported,
          "section \(section.name): expected it to be optional for engine generation \(engineGeneration), found it required"
        )
      }
    }
    let schema = try required(.features, FeaturesSection.decode)
    let blueprint = try required(.graph, GraphSection.decode)
    var graph = blueprint.graph
    if blueprint.tensors.isEmpty {
      guard entry(.weights) == nil else {
        throw BundleError(.malformed, "section weights: expected none for a graph without tensors, found one")
      }
    } else {
      graph.tensors = try required(.weights) { bytes throws(BundleError) in
        try WeightsSection.checkLayout(blueprint.tensors, in: bytes)
        return WeightsSection.tensors(blueprint.tensors, in: bytes)
      }
    }
    // A server of format 1.0 reads the same file when the bit is unset, and must not compute another answer from it.
    guard
      requiredFeatures & BundleFormat.openGraph != 0 || !(blueprint.listsValues || GraphSection.needsOpenGraph(graph))
    else {
      throw BundleError(
        .malformed,
        "header: required features: expected bit 0 for a graph that readers of format 1.0 would misread, found it unset"
      )
    }
    let labels = try optional(.labels, LabelsSection.decode) ?? []
    let contents = BundleContents(
      definition: ModelDefinition(schema: schema, graph: graph, labels: labels),
      golden: try optional(.golden, GoldenSection.decode) ?? [],
      drift: try optional(.driftBaseline, DriftSection.decode),
      metrics: try optional(.trainingMetrics, MetricsSection.decode) ?? [:],
      lineage: try optional(.lineage, LineageSection.decode))
    try contents.validate()
    return contents
  }

  private func entry(_ type: SectionType) -> SectionEntry? { manifest.sections.first { $0.type == type } }

  private func required<Value>(
    _ type: SectionType, _ decode: (UnsafeRawBufferPointer) throws(BundleError) -> Value
  ) throws(BundleError) -> Value {
    guard let value = try optional(type, decode) else {
      throw BundleError(.malformed, "section \(type): expected one, found none")
    }
    return value
  }

  private func optional<Value>(
    _ type: SectionType, _ decode: (UnsafeRawBufferPointer) throws(BundleError) -> Value
  ) throws(BundleError) -> Value? {
    guard let entry = entry(type) else { return nil }
    let stored = entry.bytes(in: file)
    switch entry.codec {
    case .raw: return try decode(stored)
    case .zstd:
      try Zstd.checkFrame(stored, rawBytes: entry.rawBytes, what: "section \(type)")
      // Fresh pages from the system: a frame that fails early has touched few of them.
      let raw = UnsafeMutableRawBufferPointer.allocate(
        byteCount: entry.rawBytes, alignment: BundleFormat.weightsAlignment)
      defer { raw.deallocate() }
      try Zstd.decompress(stored, into: raw, what: "section \(type)")
      return try decode(UnsafeRawBufferPointer(raw))
    }
  }
}
