internal import NeedletailCore
internal import NeedletailEngine

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
  }
}
