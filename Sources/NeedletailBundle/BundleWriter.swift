public import NeedletailCore
internal import NeedletailEngine

/// An encoder of bundles. Equal input gives equal bytes except for signatures.
public struct BundleWriter: Sendable {
  private let model: ModelID
  private let version: ModelVersion
  private let contents: BundleContents
  private let createdMilliseconds: UInt64
  private let notAfterMilliseconds: UInt64

  /// - Parameters:
  ///   - createdMilliseconds: time of writing in milliseconds since 1970 (UTC).
  ///   - notAfterMilliseconds: time from which readers refuse the bundle, likewise; 0: never.
  public init(
    model: ModelID, version: ModelVersion, contents: BundleContents, createdMilliseconds: UInt64,
    notAfterMilliseconds: UInt64 = 0
  ) {
    self.model = model
    self.version = version
    self.contents = contents
    self.createdMilliseconds = createdMilliseconds
    self.notAfterMilliseconds = notAfterMilliseconds
  }

  /// Encodes the file.
  ///
  /// - Parameter keys: each adds one signature; none leaves the bundle unsigned.
  /// - Throws: the error with which a reader would refuse the contents.
  public func encode(signing keys: [SigningKey] = []) throws(BundleError) -> [UInt8] {
    try assembly().encode(signing: keys)
  }

  /// - Parameters:
  ///   - compressing: false stores all sections raw, so that the bytes do not depend on the version of
  ///     zstd.
  ///   - validating: false lets a test write contents that a reader must refuse.
  package func assembly(compressing: Bool = true, validating: Bool = true) throws(BundleError) -> BundleAssembly {
    if validating { try contents.validate() }
    let definition = contents.definition
    let weights = WeightsSection.encode(definition.graph.tensors)
    var sections: [BundleAssembly.Section] = []
    func add(_ type: SectionType, isOptional: Bool, _ raw: [UInt8]) throws(BundleError) {
      // An empty message has no content.
      guard !raw.isEmpty else { return }
      sections.append(try Self.section(type, isOptional: isOptional, raw, compressing: compressing))
    }
    try add(.graph, isOptional: false, GraphSection.encode(definition.graph, tensors: weights.places))
    try add(.features, isOptional: false, FeaturesSection.encode(definition.schema))
    try add(.labels, isOptional: false, LabelsSection.encode(definition.labels))
    try add(.golden, isOptional: false, GoldenSection.encode(contents.golden))
    if let drift = contents.drift { try add(.driftBaseline, isOptional: true, DriftSection.encode(drift)) }
    try add(.trainingMetrics, isOptional: true, MetricsSection.encode(contents.metrics))
    if let lineage = contents.lineage { try add(.lineage, isOptional: true, LineageSection.encode(lineage)) }
    try add(.weights, isOptional: false, weights.bytes)
    return BundleAssembly(
      model: model.name, version: version.number, createdMilliseconds: createdMilliseconds,
      notAfterMilliseconds: notAfterMilliseconds,
      requiredFeatures: GraphSection.needsOpenGraph(definition.graph) ? BundleFormat.openGraph : 0, sections: sections)
  }

  private static func section(
    _ type: SectionType, isOptional: Bool, _ raw: [UInt8], compressing: Bool
  ) throws(BundleError) -> BundleAssembly.Section {
    let alignment = type == .weights ? BundleFormat.weightsAlignment : BundleFormat.metadataAlignment
    if type != .weights, raw.count > Limits.metadataBytesMax {
      throw BundleError(
        .oversized, "section \(type): raw bytes: expected at most \(Limits.metadataBytesMax), found \(raw.count)")
    }
    if compressing {
      let frame = try raw.withTypedBytes { bytes throws(BundleError) in
        try Zstd.compress(bytes, level: BundleFormat.compressionLevel)
      }
      // A section is stored raw if it does not shrink, or so much that a reader would take it for a decompression bomb.
      if frame.count < raw.count, raw.count <= SectionEntry.rawBytesMax(compressedTo: frame.count) {
        return BundleAssembly.Section(
          number: type.rawValue, isOptional: isOptional, codec: .zstd, alignment: alignment, stored: frame,
          rawBytes: raw.count)
      }
    }
    return BundleAssembly.Section(
      number: type.rawValue, isOptional: isOptional, codec: .raw, alignment: alignment, stored: raw, rawBytes: raw.count
    )
  }
}
