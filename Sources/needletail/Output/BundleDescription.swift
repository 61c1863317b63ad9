internal import NeedletailCore

extension BundleDescription {
  /// The description as a terminal shows it.
  var text: String {
    ([identity, sectionTable, featureTable, graphTable, outputTable]
      + [labelText, metricTable, history].filter { !$0.isEmpty })
      .map { $0.joined(separator: "\n") }.joined(separator: "\n\n")
  }

  private var identity: [String] {
    ["\(BundleOutput.plain(model)) version \(version)"]
      + pairs([
        ("digest", digest),
        ("created", created),
        ("expires", expires ?? "never"),
        ("engine", "generation \(engineMin) or newer"),
        ("size", "\(BundleOutput.grouped(fileBytes)) bytes, sections \(BundleOutput.grouped(rawBytes)) raw"),
        (
          "signatures",
          signatureKeyIDs.isEmpty ? "none" : "key id " + signatureKeyIDs.joined(separator: ", ")
        ),
        (
          "checks",
          "\(BundleOutput.counted(goldenSamples, "golden sample")), drift baseline \(driftColumns.map { "of \(BundleOutput.counted($0, "feature"))" } ?? "absent")"
        ),
      ])
  }

  private var sectionTable: [String] {
    var table = TextTable([
      ("section", .left), ("codec", .left), ("offset", .right), ("stored", .right), ("raw", .right), ("", .left),
    ])
    for section in sections {
      table.rows.append([
        section.type, section.codec, BundleOutput.grouped(section.offset), BundleOutput.grouped(section.storedBytes),
        BundleOutput.grouped(section.rawBytes), section.isOptional ? "optional" : "",
      ])
    }
    return ["Sections"] + table.lines()
  }

  /// A wide table has thousands of columns; people want the first.
  private static let rowsShownMax = 64

  private var featureTable: [String] {
    var table = TextTable([
      ("#", .right), ("feature", .left), ("kind", .left), ("missing", .left), ("unknown", .left),
      ("description", .left),
    ])
    for (index, feature) in features.prefix(Self.rowsShownMax).enumerated() {
      table.rows.append([
        String(index), BundleOutput.plain(feature.name),
        feature.categories.map { "\(BundleOutput.grouped($0.count)) categories" } ?? feature.kind,
        feature.missing, feature.unknown ?? "", BundleOutput.plain(feature.description),
      ])
    }
    return ["Features, to predict \(target.quotedForMessage)"] + table.lines() + rest(features.count)
  }

  private var graphTable: [String] {
    var table = TextTable([
      ("#", .right), ("node", .left), ("operation", .left), ("columns", .left), ("parameters", .right),
      ("precision", .left),
    ])
    for (index, node) in nodes.prefix(Self.rowsShownMax).enumerated() {
      table.rows.append([
        String(index), BundleOutput.plain(node.name), node.operation, "\(node.inputColumns) → \(node.outputColumns)",
        node.parameters == 0 ? "" : BundleOutput.grouped(node.parameters), node.precision ?? "",
      ])
    }
    return ["Graph, \(task), \(BundleOutput.counted(parameters, "weight"))"] + table.lines() + rest(nodes.count)
  }

  private var outputTable: [String] {
    var table = TextTable([("output", .left), ("kind", .left), ("columns", .right)])
    for output in outputs {
      table.rows.append([BundleOutput.plain(output.name), output.kind, String(output.columns)])
    }
    return ["Outputs"] + table.lines()
  }

  private var labelText: [String] {
    guard !labels.isEmpty else { return [] }
    return ["Labels"] + ["  " + labels.prefix(Self.rowsShownMax).map(BundleOutput.plain).joined(separator: ", ")]
      + rest(labels.count)
  }

  private var metricTable: [String] {
    guard !metrics.isEmpty else { return [] }
    var table = TextTable([("metric", .left), ("value", .right)])
    for (name, value) in metrics.sorted(by: { $0.key < $1.key }) {
      table.rows.append([BundleOutput.plain(name), String(value)])
    }
    return ["Training metrics"] + table.lines()
  }

  private var history: [String] {
    guard let lineage else { return [] }
    let configuration = lineage.configuration.split(separator: "\n").map { "    " + BundleOutput.plain(String($0)) }
    return ["Lineage"]
      + pairs([
        ("trainer", BundleOutput.plain(lineage.trainerVersion)),
        ("family", BundleOutput.plain(lineage.family)),
        ("rows", BundleOutput.grouped(lineage.rows)),
        ("seed", String(lineage.seed)),
        ("data", BundleOutput.plain(lineage.dataSHA256)),
        ("parent", lineage.parent.isEmpty ? "none" : BundleOutput.plain(lineage.parent)),
        ("quantised", BundleOutput.plain(lineage.quantisation)),
      ]) + (configuration.isEmpty ? [] : ["  configuration"] + configuration)
  }

  private func pairs(_ pairs: [(name: String, value: String)]) -> [String] {
    let width = pairs.map(\.name.count).max() ?? 0
    return pairs.map { "  \($0.name)\(String(repeating: " ", count: width - $0.name.count))  \($0.value)" }
  }

  private func rest(_ count: Int) -> [String] {
    count > Self.rowsShownMax
      ? ["  … and \(BundleOutput.grouped(count - Self.rowsShownMax)) more; --json shows all"] : []
  }
}
