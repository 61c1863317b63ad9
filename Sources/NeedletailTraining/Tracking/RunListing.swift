internal import Foundation
internal import NeedletailCore

/// Tables and JSON of recorded runs, for people and for programs.
public struct RunListing {
  private let store: ExperimentStore

  public init(_ store: ExperimentStore) { self.store = store }

  /// An answer in both forms.
  public struct Answer {
    public var document: Document
    let rows: [(title: String, table: [[String]])]
    /// Titles of tables that hold words, which stand to the left.
    var wordy: Set<String> = []

    public func text(_ terminal: Terminal) -> String {
      var lines: [String] = []
      for part in rows where !part.table.isEmpty {
        if !part.title.isEmpty { lines += ["", terminal.bold(part.title)] }
        if wordy.contains(part.title) {
          let width = part.table.map { $0[0].count }.max() ?? 0
          lines += part.table.map { row in
            terminal.dim(row[0] + String(repeating: " ", count: width - row[0].count)) + "   " + row[1]
          }
          continue
        }
        lines += ResultsTable.aligned(part.table).enumerated().map { index, line in
          index == 0 && part.title.isEmpty ? terminal.bold(line) : line
        }
      }
      return lines.joined(separator: "\n").trimmingPrefix("\n") + "\n"
    }
  }

  /// Figures of test rows in the order in which people ask for them.
  private static let headline = [
    "test.auc", "test.accuracy", "test.r2", "test.ndcg", "objective", "validation.auc", "validation.accuracy",
    "validation.r2",
  ]

  public func list(parent: Int?, model: String?, last: Int) throws(TrainingError) -> Answer {
    let runs = try store.runs(parent: parent, model: model, last: last)
    var table = [["run", "began", "model", "family", "state", "took", "figure"]]
    var documents: [Document] = []
    for run in runs {
      let metrics = try store.metrics(of: run.id).filter { $0.step == 0 }
      let figure = Self.headline.lazy.compactMap { key in metrics.first { $0.key == key } }.first
      table.append([
        "\(run.id)", Self.time(run.startedMilliseconds), run.model.escapingControls, run.family, run.state.rawValue,
        Self.duration(run), figure.map { "\($0.key) \(Figures.fixed($0.value, 4))" } ?? "",
      ])
      documents.append(Self.document(run).adding("metrics", Self.section(metrics)))
    }
    return Answer(document: .list(documents), rows: [("", table)])
  }

  public func details(of id: Int) throws(TrainingError) -> Answer {
    let run = try store.run(id)
    let parameters = try store.parameters(of: id)
    let metrics = try store.metrics(of: id)
    let artifacts = try store.artifacts(of: id)
    let figures = metrics.filter { $0.step == 0 }
    let curves = Dictionary(grouping: metrics.filter { $0.step > 0 }, by: \.key).sorted { $0.key < $1.key }
    var head = [
      ["run", "\(run.id)"], ["kind", run.kind], ["model", run.model.escapingControls], ["family", run.family],
      ["state", run.state.rawValue], ["began", Self.time(run.startedMilliseconds)], ["took", Self.duration(run)],
    ]
    if let version = run.version { head.append(["version", "\(version)"]) }
    if !run.directory.isEmpty { head.append(["directory", run.directory.escapingControls]) }
    if !run.message.isEmpty { head.append(["message", run.message.escapingControls]) }
    let document = Self.document(run).adding([
      .init("parameters", .section(parameters.map { .init($0.key, .text($0.value)) })),
      .init("metrics", Self.section(figures)),
      .init(
        "curves",
        .section(
          curves.map { curve in
            .init(curve.key, .list(curve.value.map { .list([.integer($0.step), .number($0.value)]) }))
          })),
      .init(
        "artifacts",
        .list(
          artifacts.map {
            .section([
              .init("name", .text($0.name)), .init("path", .text($0.path)), .init("bytes", .integer($0.bytes)),
            ])
          })),
    ])
    return Answer(
      document: document,
      rows: [
        ("", head), ("parameters", parameters.map { [$0.key.escapingControls, $0.value.escapingControls] }),
        ("metrics", figures.map { [$0.key, Self.value($0.value)] }),
        (
          "curves",
          curves.map { [$0.key, "\($0.value.count) steps", "last \(Self.value($0.value.last?.value ?? .nan))"] }
        ),
        ("files", artifacts.map { [$0.name, Figures.bytes($0.bytes)] }),
      ], wordy: ["", "parameters"])
  }

  public func comparison(of ids: [Int]) throws(TrainingError) -> Answer {
    var runs: [RunRecord] = []
    var parameters: [[String: String]] = []
    var metrics: [[String: Double]] = []
    for id in ids {
      runs.append(try store.run(id))
      parameters.append(Dictionary(uniqueKeysWithValues: try store.parameters(of: id).map { ($0.key, $0.value) }))
      let figures = try store.metrics(of: id).filter { $0.step == 0 }
      metrics.append(Dictionary(uniqueKeysWithValues: figures.map { ($0.key, $0.value) }))
    }
    let differing = Set(parameters.flatMap(\.keys)).sorted().filter { key in
      Set(parameters.map { $0[key] }).count > 1
    }
    let keys = Set(metrics.flatMap(\.keys)).sorted()
    func row(_ name: String, _ value: (Int) -> String?) -> [String] {
      [name.escapingControls] + ids.indices.map { (value($0) ?? "–").escapingControls }
    }
    let head = [
      row("run") { "\(ids[$0])" }, row("model") { runs[$0].model }, row("family") { runs[$0].family },
      row("began") { Self.time(runs[$0].startedMilliseconds) },
    ]
    let document = Document.section([
      .init("runs", .list(runs.map(Self.document))),
      .init(
        "parameters",
        .section(
          differing.map { key in
            .init(key, .list(parameters.map { $0[key].map { .text($0) } ?? .null }))
          })),
      .init(
        "metrics",
        .section(keys.map { key in .init(key, .list(metrics.map { $0[key].map { .number($0) } ?? .null })) })),
    ])
    return Answer(
      document: document,
      rows: [
        ("", head), ("parameters that differ", differing.map { key in row(key) { parameters[$0][key] } }),
        ("metrics", keys.map { key in row(key) { metrics[$0][key].map(Self.value) } }),
      ])
  }

  private static func document(_ run: RunRecord) -> Document {
    .section([
      .init("run", .integer(run.id)), .init("parent", run.parent.map { .integer($0) } ?? .null),
      .init("kind", .text(run.kind)), .init("model", .text(run.model)), .init("family", .text(run.family)),
      .init("state", .text(run.state.rawValue)), .init("began_ms", .integer(Int(clamping: run.startedMilliseconds))),
      .init("ended_ms", run.endedMilliseconds.map { .integer(Int(clamping: $0)) } ?? .null),
      .init("version", run.version.map { .integer($0) } ?? .null), .init("directory", .text(run.directory)),
      .init("message", .text(run.message)), .init("data_sha256", .text(run.dataSHA256)),
    ])
  }

  private static func section(_ metrics: [RunMetric]) -> Document {
    .section(metrics.map { .init($0.key, .number($0.value)) })
  }

  private static func value(_ value: Double) -> String {
    abs(value) >= 100 ? Figures.fixed(value, 2) : ReportPage.figure(value)
  }

  private static func time(_ milliseconds: UInt64) -> String {
    let text = Date(timeIntervalSince1970: Double(milliseconds) / 1000).formatted(.iso8601)
    return text.prefix(16).split(separator: "T").joined(separator: " ")
  }

  private static func duration(_ run: RunRecord) -> String {
    guard let end = run.endedMilliseconds else { return "" }
    return Figures.duration(Double(end - min(run.startedMilliseconds, end)) / 1000)
  }
}
