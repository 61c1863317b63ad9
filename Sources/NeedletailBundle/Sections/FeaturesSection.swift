internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine

/// Feature names, kinds, category tables and policies.
enum FeaturesSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> FeatureSchema {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "features", needletail__v1__feature_schema__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_features, 1...Limits.featuresMax, "features")
    let features = try MessageValues.messages(message.features, message.n_features).map { feature throws(BundleError) in
      try self.feature(feature)
    }
    return FeatureSchema(features: features, target: MessageValues.text(message.target))
  }

  private static func feature(_ message: Needletail__V1__Feature) throws(BundleError) -> Feature {
    let name = MessageValues.text(message.name)
    let field = "feature \(name.quotedForMessage)"
    let unknown = try MessageValues.enumeration(
      message.unknown.rawValue, as: Feature.UnknownPolicy.self, "\(field): unknown policy")
    let kind: Feature.Kind
    switch message.kind {
    case NEEDLETAIL__V1__FEATURE_KIND__NUMERIC:
      guard message.n_categories == 0, unknown == .refuse else {
        throw BundleError(.invalidGraph, "\(field): expected no categories on a numeric feature, found some")
      }
      kind = .numeric
    case NEEDLETAIL__V1__FEATURE_KIND__CATEGORICAL:
      try Bounds.check(message.n_categories, 0...Limits.categoriesMax, "\(field): categories")
      kind = .categorical(
        categories: MessageValues.texts(message.categories, message.n_categories), unknown: unknown)
    default:
      throw BundleError(.unsupported, "\(field): kind: expected 0 or 1, found \(message.kind.rawValue)")
    }
    return Feature(
      name: name, kind: kind,
      missing: try MessageValues.enumeration(
        message.missing.rawValue, as: Feature.MissingPolicy.self, "\(field): missing policy"),
      summary: MessageValues.text(message.description))
  }

  static func encode(_ schema: FeatureSchema) -> [UInt8] {
    let memory = MessageBuilder()
    let features = schema.features.map { feature in
      memory.build(needletail__v1__feature__init) {
        $0.name = memory.text(feature.name)
        $0.missing = Needletail__V1__MissingPolicy(UInt32(feature.missing.rawValue))
        $0.description = memory.text(feature.summary)
        guard case .categorical(let categories, let unknown) = feature.kind else { return }
        $0.kind = NEEDLETAIL__V1__FEATURE_KIND__CATEGORICAL
        $0.n_categories = categories.count
        $0.categories = memory.array(categories.map { memory.text($0) })
        $0.unknown = Needletail__V1__UnknownPolicy(UInt32(unknown.rawValue))
      }
    }
    return memory.pack(
      memory.build(needletail__v1__feature_schema__init) {
        $0.n_features = features.count
        $0.features = memory.array(features)
        $0.target = memory.text(schema.target)
      })
  }
}

/// Class labels by class index.
enum LabelsSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> [String] {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "labels", needletail__v1__label_map__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_labels, 1...Limits.labelsMax, "labels")
    return MessageValues.texts(message.labels, message.n_labels)
  }

  static func encode(_ labels: [String]) -> [UInt8] {
    let memory = MessageBuilder()
    return memory.pack(
      memory.build(needletail__v1__label_map__init) {
        $0.n_labels = labels.count
        $0.labels = memory.array(labels.map { memory.text($0) })
      })
  }
}
