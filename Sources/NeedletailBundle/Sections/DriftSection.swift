internal import CNeedletailProto
internal import NeedletailCore

/// How inputs and answers were distributed when the model was trained.
enum DriftSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> DriftBaseline {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "drift baseline", needletail__v1__drift_baseline__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_features, 0...Limits.featuresMax, "drift baseline: features")
    guard let prediction = message.prediction?.pointee else {
      throw BundleError(.malformed, "drift baseline: prediction: expected one, found none")
    }
    let features = try MessageValues.messages(message.features, message.n_features).map { feature throws(BundleError) in
      try column(feature)
    }
    return DriftBaseline(features: features, prediction: try column(prediction))
  }

  private static func column(
    _ message: Needletail__V1__FeatureBaseline
  ) throws(BundleError) -> DriftBaseline.Column {
    let name = MessageValues.text(message.name)
    let field = "drift baseline of \(name.quotedForMessage)"
    try Bounds.check(message.n_categories, 0...Limits.categoriesMax, "\(field): categories")
    let counts = try MessageValues.array(message.bin_counts, message.n_bin_counts).map { count throws(BundleError) in
      try MessageValues.count(count, "\(field): bin count")
    }
    let categories = try MessageValues.messages(message.categories, message.n_categories).map {
      entry throws(BundleError) -> (category: String, count: Int) in
      (MessageValues.text(entry.category), try MessageValues.count(entry.count, "\(field): category count"))
    }
    return DriftBaseline.Column(
      name: name, rows: try MessageValues.count(message.rows, "\(field): rows"), missingRate: message.missing_rate,
      quantileEdges: MessageValues.array(message.quantile_edges, message.n_quantile_edges), binCounts: counts,
      categories: categories)
  }

  static func encode(_ baseline: DriftBaseline) -> [UInt8] {
    let memory = MessageMemory.forBuilding()
    let features = baseline.features.map { message(of: $0, in: memory) }
    return memory.pack(
      memory.build(needletail__v1__drift_baseline__init) {
        $0.n_features = features.count
        $0.features = memory.array(features)
        $0.prediction = message(of: baseline.prediction, in: memory)
      })
  }

  private static func message(
    of column: DriftBaseline.Column, in memory: MessageMemory
  ) -> UnsafeMutablePointer<Needletail__V1__FeatureBaseline>? {
    let categories = column.categories.map { entry in
      memory.build(needletail__v1__category_count__init) {
        $0.category = memory.text(entry.category)
        $0.count = UInt64(entry.count)
      }
    }
    return memory.build(needletail__v1__feature_baseline__init) {
      $0.name = memory.text(column.name)
      $0.rows = UInt64(column.rows)
      $0.missing_rate = column.missingRate
      $0.n_quantile_edges = column.quantileEdges.count
      $0.quantile_edges = memory.array(column.quantileEdges)
      $0.n_bin_counts = column.binCounts.count
      $0.bin_counts = memory.array(column.binCounts.map { UInt64($0) })
      $0.n_categories = categories.count
      $0.categories = memory.array(categories)
    }
  }
}
