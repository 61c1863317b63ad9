internal import NeedletailCore
internal import NeedletailEngine

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
