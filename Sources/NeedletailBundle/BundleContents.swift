public import NeedletailCore
public import NeedletailEngine
internal import NeedletailSystem

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
    for section in manifest.sections where section.type == .calibration {
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
    graph.tokenizer = try optional(.tokenizer, TokenizerSection.decode)
    // A server of format 1.0 reads the same file when the bit is unset, and must not compute another answer from it.
    guard
      requiredFeatures & BundleFormat.openGraph != 0 || !(blueprint.listsValues || GraphSection.needsOpenGraph(graph))
    else {
      throw BundleError(
        .malformed,
        "header: required features: expected bit 0 for a graph that readers of format 1.0 would misread, found it unset"
      )
    }
    guard requiredFeatures & BundleFormat.valueRules != 0 || !schema.rulesChangeAnswers else {
      throw BundleError(
        .malformed,
        "header: required features: expected bit 1 for value rules beside categories that may be unknown, found it unset"
      )
    }
    guard requiredFeatures & BundleFormat.thousandsPoint != 0 || schema.rules?.numbers.thousands != .point else {
      throw BundleError(
        .malformed,
        "header: required features: expected bit 2 for numbers with a point between thousands, found it unset")
    }
    guard requiredFeatures & BundleFormat.droppedTokens != 0 || graph.tokenizer?.definition.dropsUnknown != true else {
      throw BundleError(
        .malformed,
        "header: required features: expected bit 3 for a tokenizer that drops unknown tokens, found it unset")
    }
    guard requiredFeatures & BundleFormat.prefixes != 0 || !GraphSection.hasPrefixes(graph) else {
      throw BundleError(
        .malformed, "header: required features: expected bit 4 for attention with a prefix, found it unset")
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
      guard let memory = PageMemory.map(bytes: max(1, entry.rawBytes)) else {
        throw BundleError(SystemError("map \(entry.rawBytes) bytes for section \(type)"))
      }
      defer { PageMemory.unmap(memory, bytes: max(1, entry.rawBytes)) }
      let raw = UnsafeMutableRawBufferPointer(start: memory, count: entry.rawBytes)
      try Zstd.decompress(stored, into: raw, what: "section \(type)")
      return try decode(UnsafeRawBufferPointer(raw))
    }
  }
}

extension BundleContents {
  /// Checks everything a reader may rely on; the writer runs it, too, so that what was published can be
  /// read.
  ///
  /// - Throws: `.invalidGraph`, `.malformed` or `.oversized`.
  public func validate() throws(BundleError) {
    try definition.validate()
    try validateGolden()
    try validateMetrics()
    try drift?.validate(schema: definition.schema)
    if let lineage { try lineage.validate() }
  }

  private func validateGolden() throws(BundleError) {
    try Bounds.check(golden.count, 0...Limits.goldenSamplesMax, "golden samples")
    for sample in golden {
      let field = "golden sample \(sample.name.quotedForMessage)"
      try NameCheck.text(sample.name, "golden sample name")
      guard sample.cells.count == definition.schema.features.count else {
        throw BundleError(
          .invalidGraph,
          "\(field): expected \(definition.schema.features.count) cells, one a feature, found \(sample.cells.count)")
      }
      for case .text(let text) in sample.cells { try NameCheck.text(text, "\(field): cell") }
      guard sample.tolerance.isFinite, sample.tolerance >= 0 else {
        throw BundleError(
          .invalidGraph, "\(field): tolerance: expected a finite number from 0, found \(sample.tolerance)")
      }
      switch sample.expectation {
      case .refusal(let status):
        guard status != .ok else {
          throw BundleError(.invalidGraph, "\(field): expected a refusal, found status OK")
        }
      case .answers(let answers):
        try Bounds.check(answers.count, 1...Limits.graphOutputsMax, "\(field): outputs")
        try NameCheck.unique(answers.map(\.name), "\(field): output")
        for (name, answer) in answers { try validate(answer, of: name, field) }
      }
    }
  }

  private func validate(_ answer: GoldenSample.Answer, of name: String, _ sample: String) throws(BundleError) {
    let field = "\(sample): output \(name.quotedForMessage)"
    guard let output = definition.graph.outputs.first(where: { $0.name == name }) else {
      throw BundleError(.invalidGraph, "\(field): expected an output of the graph, found none of that name")
    }
    let columns = definition.graph.values[output.value].columns
    switch (output.kind, answer) {
    case (.number, .numbers(let numbers)), (.classIndex, .numbers(let numbers)):
      guard numbers.count == columns else {
        throw BundleError(.invalidGraph, "\(field): expected \(columns) numbers, found \(numbers.count)")
      }
      try Finite.check(numbers, field)
    case (.classLabel, .strings(let strings)):
      guard strings.count == 1, definition.labels.contains(strings[0]) else {
        throw BundleError(.invalidGraph, "\(field): expected one label of the model, found \(strings.count) strings")
      }
    default:
      throw BundleError(
        .invalidGraph, "\(field): expected \(output.kind == .classLabel ? "a string" : "numbers"), found the other")
    }
  }

  private func validateMetrics() throws(BundleError) {
    try Bounds.check(metrics.count, 0...Limits.trainingMetricsMax, "training metrics")
    for (name, value) in metrics {
      guard !name.isEmpty else {
        throw BundleError(.invalidGraph, "training metric: expected a name, found none")
      }
      try NameCheck.text(name, "training metric name")
      // JSON and Prometheus rules cannot compare a NaN; what could not be measured is left out.
      guard value.isFinite else {
        throw BundleError(
          .invalidGraph, "training metric \(name.quotedForMessage): expected a finite number, found \(value)")
      }
    }
  }
}

extension DriftBaseline {
  func validate(schema: FeatureSchema) throws(BundleError) {
    try NameCheck.unique(features.map(\.name), "drift baseline of")
    let known = Set(schema.features.map(\.name))
    for column in features {
      guard known.contains(column.name) else {
        throw BundleError(
          .invalidGraph,
          "drift baseline of \(column.name.quotedForMessage): expected a feature, found none of that name")
      }
      try column.validate()
    }
    try prediction.validate()
  }
}

extension DriftBaseline.Column {
  func validate() throws(BundleError) {
    let field = "drift baseline of \(name.quotedForMessage)"
    try NameCheck.text(name, "drift baseline name")
    guard rows >= 0, binCounts.allSatisfy({ $0 >= 0 }), categories.allSatisfy({ $0.count >= 0 }) else {
      throw BundleError(.invalidGraph, "\(field): expected counts from 0, found a negative one")
    }
    guard (0...1).contains(missingRate) else {
      throw BundleError(.invalidGraph, "\(field): missing rate: expected 0 to 1, found \(missingRate)")
    }
    try Finite.check(quantileEdges, "\(field): quantile edges")
    guard zip(quantileEdges, quantileEdges.dropFirst()).allSatisfy({ $0 <= $1 }) else {
      throw BundleError(.invalidGraph, "\(field): quantile edges: expected ascending numbers, found a descent")
    }
    guard binCounts.count == max(0, quantileEdges.count - 1) else {
      throw BundleError(
        .invalidGraph,
        "\(field): expected \(max(0, quantileEdges.count - 1)) bin counts between \(quantileEdges.count) edges, found \(binCounts.count)"
      )
    }
    try NameCheck.unique(categories.map(\.category), "\(field): category")
  }
}

extension Lineage {
  func validate() throws(BundleError) {
    for (field, text) in [
      ("trainer version", trainerVersion), ("data SHA-256", dataSHA256), ("configuration", configuration),
      ("parent", parent), ("family", family), ("quantisation", quantisation),
    ] {
      try NameCheck.text(text, "lineage: \(field)")
    }
    guard rows >= 0 else {
      throw BundleError(.invalidGraph, "lineage: rows: expected a number from 0, found \(rows)")
    }
  }
}

extension ModelDefinition {
  /// Schema, graph and labels fit one another. The engine's check says what makes a graph right; what makes a text
  /// fit for a bundle is said here.
  func validate() throws(BundleError) {
    try schema.validate()
    try graph.validateTexts()
    do throws(GraphFault) {
      try check()
    } catch {
      throw BundleError(error)
    }
    try validateLabels()
  }

  private func validateLabels() throws(BundleError) {
    guard graph.task == .classification || labels.isEmpty else {
      throw BundleError(.invalidGraph, "labels: expected none for a regression, found \(labels.count)")
    }
    for (index, label) in labels.enumerated() where label.isEmpty {
      throw BundleError(.invalidGraph, "label \(index): expected text, found none")
    }
    try NameCheck.unique(labels, "label")
  }
}

extension ModelGraph {
  fileprivate func validateTexts() throws(BundleError) {
    for (index, value) in values.enumerated() { try NameCheck.text(value.name, "value \(index): name") }
    for node in nodes { try NameCheck.text(node.name, "node name") }
    for tensor in tensors { try NameCheck.text(tensor.name, "tensor name") }
    for output in outputs { try NameCheck.text(output.name, "output name") }
  }
}

extension FeatureSchema {
  /// Names and categories are there, within bounds, and unique.
  ///
  /// Two texts that Unicode holds equal (é as one scalar or as two) are no two names: people could not
  /// tell them apart.
  func validate() throws(BundleError) {
    try Bounds.check(features.count, 1...Limits.featuresMax, "features")
    var categoryCount = 0
    for (index, feature) in features.enumerated() {
      try Bounds.check(
        feature.name.utf8.count, 1...Limits.featureNameBytesMax, "feature \(index): bytes of its name")
      try NameCheck.text(feature.name, "feature \(index): name")
      try NameCheck.text(feature.summary, "feature \(feature.name.quotedForMessage): description")
      if let fault = feature.bucketFault {
        throw BundleError(.invalidGraph, "feature \(feature.name.quotedForMessage): \(fault)")
      }
      guard case .categorical(let categories, _) = feature.kind else { continue }
      categoryCount += categories.count
      try Bounds.check(categoryCount, 0...Limits.categoriesMax, "categories of all features")
      for (code, category) in categories.enumerated() {
        guard !category.isEmpty else {
          throw BundleError(
            .invalidGraph,
            "feature \(feature.name.quotedForMessage): category \(code): expected text, found none, which means a missing value"
          )
        }
      }
      try NameCheck.unique(categories, "feature \(feature.name.quotedForMessage): category")
    }
    try NameCheck.unique(features.map(\.name), "feature")
    try NameCheck.text(target, "target")
    for word in rules?.missing ?? [] { try NameCheck.text(word, "missing word") }
    if let fault = ruleFault { throw BundleError(.invalidGraph, fault) }
  }
}

/// A count against its bound.
enum Bounds {
  static func check(
    _ count: Int, _ range: ClosedRange<Int>, _ field: @autoclosure () -> String
  ) throws(BundleError) {
    guard range.contains(count) else {
      throw BundleError(
        count < range.lowerBound ? .malformed : .oversized,
        "\(field()): expected \(range.lowerBound) to \(range.upperBound), found \(count)")
    }
  }
}

/// Checks of names, and of texts of any kind.
enum NameCheck {
  static func unique(_ names: [String], _ field: @autoclosure () -> String) throws(BundleError) {
    var seen = Set<String>(minimumCapacity: names.count)
    for name in names {
      try text(name, field())
      guard seen.insert(name).inserted else {
        throw BundleError(.invalidGraph, "\(field()) \(name.quotedForMessage): expected once, found twice")
      }
    }
  }

  /// A NUL would end the text early in a C reader.
  static func text(_ text: String, _ field: @autoclosure () -> String) throws(BundleError) {
    guard !text.utf8.contains(0) else {
      throw BundleError(.malformed, "\(field()): expected text without NUL, found one")
    }
  }
}

/// Numbers of a model are finite: a NaN among weights turns every answer into NaN.
enum Finite {
  static func check(_ numbers: [some BinaryFloatingPoint], _ field: @autoclosure () -> String) throws(BundleError) {
    guard let index = numbers.firstIndex(where: { !$0.isFinite }) else { return }
    throw BundleError(.invalidGraph, "\(field()): expected finite numbers, found \(numbers[index]) at \(index)")
  }
}
