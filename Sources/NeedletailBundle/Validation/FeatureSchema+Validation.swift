internal import NeedletailCore

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

/// What holds for texts of any kind.
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
