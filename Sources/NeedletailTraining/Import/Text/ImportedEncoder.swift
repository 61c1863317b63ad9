public import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// Result of the import of an encoder or of static embeddings: a bundle's contents, and what there is to say about them.
public struct ImportedEncoder {
  let settings: EncoderImportSettings
  let source: any TextModelSource
  let comparison: SampleRows.Agreement?
  /// Agreement of int8 with fp32; nil for fp32.
  let similarity: AnswerSimilarity?
  /// Agreement of what is served with the library; nil where its answers were not given.
  let library: AnswerSimilarity?
  /// What was decided about int8, and why.
  public let quantisation: String
  public let contents: BundleContents

  public var model: ModelID { settings.model }

  /// Figures for other programs.
  public func report(version: ModelVersion, bundleBytes: Int) -> Document {
    let head: [Document.Entry] = [
      .init("model", .text(model.name)),
      .init("version", .integer(Int(clamping: version.number))),
      .init("source", .text(source.words)),
    ]
    let rest: [Document.Entry] = [
      .init("tokens_max", .integer(source.tokenizer.tokensMax ?? 0)),
      .init("labels", .list(contents.definition.labels.map { .text($0) })),
      .init("bundle_bytes", .integer(bundleBytes)),
      .init("quantisation", .text(quantisation)),
      .init("int8_similarity", similarity.map { .number($0.mean) } ?? .null),
      .init("int8_similarity_least", similarity.map { .number($0.least) } ?? .null),
      .init("library_similarity", library.map { .number($0.mean) } ?? .null),
      .init("rows_compared", .integer(comparison?.rows ?? 0)),
      .init(
        "largest_difference",
        .number((comparison?.columns ?? []).map(\.largestDifference).max() ?? 0)),
      .init("notes", .list(source.notes.map { .text($0) })),
    ]
    return .section(head + source.sizes + rest)
  }

  /// The bundle's file, read back and checked.
  ///
  /// - Throws: `TrainingError` of kind `output`.
  public func encode(version: ModelVersion, signing keys: [SigningKey]) throws(TrainingError) -> [UInt8] {
    try contents.encode(model: settings.model, version: version, expiresDays: nil, signing: keys)
  }
}

extension ResultsTable {
  /// What an imported encoder is, for people.
  ///
  /// - Parameters:
  ///   - version: version that the bundle was given.
  ///   - paths: what was written, and where.
  public func render(
    _ imported: ImportedEncoder, version: ModelVersion, bundleBytes: Int, paths: [(label: String, path: String)]
  ) -> String {
    let comparison =
      imported.comparison.map { found in
        let largest = found.columns.map(\.largestDifference).max() ?? 0
        let served = imported.library.map { "; as served: \($0.words)" } ?? ""
        return "\(Figures.count(found.rows)) texts, largest difference in fp32 \(Figures.short(largest))\(served)"
      } ?? "none: --data and --expected compare the answers with the library's"
    var rows = [("comparison", comparison), ("quantisation", imported.quantisation)]
    rows += imported.source.notes.map { ("note", $0) } + paths.map { ($0.label, $0.path) }
    var lines = [
      terminal.bold("  \(imported.model) \(version)") + "  \(imported.source.words)",
      "  " + terminal.dim("\(imported.source.parameterWords) · \(Figures.bytes(bundleBytes))"), "",
    ]
    for (label, text) in rows {
      lines.append("  " + terminal.dim(label + String(repeating: " ", count: max(0, 12 - label.count))) + "  " + text)
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
