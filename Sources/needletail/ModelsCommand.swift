internal import ArgumentParser
internal import Foundation
internal import NeedletailClient

struct ModelsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "models",
    abstract: "List models and their versions, or describe one.",
    discussion: """
      The version marked * answers requests that name none. SHARE, REQ/S and P99 are of the last minute;
      P99 is from a request's last byte to its answer, in the server.
      """)

  @Argument(help: ArgumentHelp("Describe this model.", valueName: "MODEL[@VERSION|@LABEL]"))
  var model: ModelReference?

  @Flag(help: "Print JSON.")
  var json = false

  @Flag(help: "Show the list again and again, until q or Ctrl-C.")
  var watch = false

  @Option(help: ArgumentHelp("How often --watch asks.", valueName: "time"))
  var interval = TimeSpan(duration: .seconds(2), text: "2s")

  @Flag(help: "Also print the last events.")
  var events = false

  @OptionGroup var server: ServerOptions

  private static let eventsShown = 12

  func validate() throws {
    guard model == nil || (!watch && !events) else {
      throw ValidationError("--watch and --events are about all models: leave MODEL out.")
    }
    guard !(json && (watch || events)) else {
      throw ValidationError("--json goes with neither --watch nor --events; see `needletail events --follow --json`.")
    }
  }

  func run() async throws {
    if watch { return try await watchList() }
    guard let model else { return try await list() }
    let description = try await server.withClient {
      try await $0.describeModel(model.model, selector: model.selector)
    }
    if json {
      try printJSON(description.json)
    } else {
      DescriptionPrinter(description).print()
    }
  }

  private func list() async throws {
    let (report, happened) = try await ask()
    if json { return try printJSON(report.json) }
    for line in lines(report, happened, width: nil) { print(line) }
  }

  private func ask() async throws -> (ModelListReport, [EventReport]) {
    try await server.withClient { client in
      (try await client.listModels(), events ? try await client.events().events : [])
    }
  }

  private func lines(_ report: ModelListReport, _ happened: [EventReport], width: Int?) -> [String] {
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    var lines = ModelsView(report, now: now).lines(width: width)
    let shown = happened.filter { $0.severity != "debug" }.suffix(Self.eventsShown)
    if !shown.isEmpty { lines += [""] + shown.map { EventLine($0).text(width: width) } }
    return lines
  }

  private func watchList() async throws {
    let address = try server.address()
    try await LiveScreen.run(every: interval.duration) { width in
      let head = TerminalTable.styled(
        "\(address)  \(EventLine.time(UInt64(Date().timeIntervalSince1970 * 1000)))"
          + (width == nil ? "" : "  q quits"),
        .faint)
      do {
        let (report, happened) = try await ask()
        return [head, ""] + lines(report, happened, width: width)
      } catch let failure as Failure {
        // The server may be restarting: watching goes on.
        return [head, ""] + TerminalTable.broken(failure.description, width: width)
      } catch let error as ClientError {
        return [head, ""] + TerminalTable.broken(error.message, width: width)
      }
    }
  }
}

/// All models and versions as a table for a terminal, with reasons below their versions.
struct ModelsView {
  private let report: ModelListReport
  /// Unix time, in milliseconds.
  private let now: UInt64

  init(_ report: ModelListReport, now: UInt64) {
    self.report = report
    self.now = now
  }

  /// - Parameter width: columns of the window; nil: no limit.
  func lines(width: Int? = nil) -> [String] {
    var lines = report.models.isEmpty ? ["the store holds no models"] : table.lines(width: width)
    for problem in report.problems {
      let text = "problem: \(BundleOutput.plain(problem.path)): \(BundleOutput.plain(problem.reason))"
      lines += TerminalTable.broken(text, width: width).map { TerminalTable.styled($0, .bad) }
    }
    return lines
  }

  private var table: TerminalTable {
    var table = TerminalTable([
      .init("MODEL", .left, charactersMin: 8), .init("VERSION", .right), .init("STATE", .left), .init("SHARE", .right),
      .init("REQ/S", .right), .init("P99", .right), .init("SINCE", .right), .init("SIGNER", .left, charactersMin: 6),
      .init("DIGEST", .left, charactersMin: 6),
    ])
    for model in report.models {
      let name = BundleOutput.plain(model.model)
      if model.versions.isEmpty { table.append([name] + Array(repeating: "-", count: 8)) }
      for version in model.versions { append(version, of: model, name, to: &table) }
    }
    return table
  }

  private func append(
    _ version: VersionReport, of model: ModelStatusReport, _ name: String, to table: inout TerminalTable
  ) {
    let isServing = model.servingVersion == version.version
    let traffic = version.traffic
    let isAsked = (traffic?.recentRequests ?? 0) > 0
    table.append([
      (name, .plain), ((isServing ? "* " : "") + String(version.version), isServing ? .strong : .plain),
      (version.state?.description ?? "unknown", Self.style(version.state)),
      (traffic.map { isAsked ? MessageFormat.share(Double($0.shareMillionths) / 1e6) : "-" } ?? "-", .plain),
      (traffic.map { MessageFormat.rate($0.requestsPerSecond) } ?? "-", .plain),
      (
        traffic.flatMap { $0.p99Microseconds > 0 ? MessageFormat.duration(microseconds: $0.p99Microseconds) : nil }
          ?? "-",
        .plain
      ),
      (version.sinceMilliseconds > 0 ? MessageFormat.age(since: version.sinceMilliseconds, now: now) : "-", .plain),
      (version.signer.isEmpty ? "-" : BundleOutput.plain(version.signer), .plain),
      (version.digest.isEmpty ? "-" : BundleOutput.plain(String(version.digest.prefix(12))), .faint),
    ])
    if !version.reason.isEmpty {
      table.append(note: BundleOutput.plain(version.reason), version.state == .rejected ? .bad : .faint)
    }
  }

  private static func style(_ state: VersionState?) -> TerminalTable.Style {
    switch state {
    case .live: .good
    case .rejected: .bad
    case .retired: .faint
    default: .plain
    }
  }
}

/// Prints the description of one model version for people.
struct DescriptionPrinter {
  private let model: ModelDescription

  init(_ model: ModelDescription) {
    self.model = model
  }

  func print() {
    let state = model.state?.description ?? "unknown"
    print("\(model.model) version \(model.version): \(model.task), \(state)")
    for (name, value) in facts where !value.isEmpty {
      print("  " + name.padding(toLength: 11, withPad: " ", startingAt: 0) + value)
    }
    section("inputs", model.inputs)
    section("outputs", model.outputs)
    pairs("metrics", model.metrics.mapValues { String(format: "%.6g", $0) })
    // The configuration is a whole file, which only `--json` shows.
    pairs("lineage", model.lineage.filter { !$0.value.contains("\n") && !$0.value.isEmpty })
    guard !model.plan.isEmpty else { return }
    print("plan")
    for step in model.plan { print("  \(step)") }
  }

  /// Prints a line without control characters: names, labels and texts come from the publisher of the bundle.
  private func print(_ line: String) { Swift.print(BundleOutput.plain(line)) }

  private var facts: [(String, String)] {
    let created = Date(timeIntervalSince1970: Double(model.createdMilliseconds) / 1000)
    return [
      ("created", model.createdMilliseconds > 0 ? ISO8601DateFormatter().string(from: created) : ""),
      ("digest", model.digest), ("signer", model.signer.isEmpty ? "none: not signed" : model.signer),
      ("precision", [model.precision, model.isa].filter { !$0.isEmpty }.joined(separator: " on ")),
      ("timed", model.planChoice),
      (
        "memory",
        model.residentBytes > 0 ? "\(model.residentBytes / 1024 + (model.residentBytes % 1024 > 0 ? 1 : 0)) KiB" : ""
      ),
      ("labels", Self.list(model.labels)), ("missing words", Self.list(model.valueRules?.missing ?? [])),
      ("numbers", (model.valueRules?.numbers.words).map { $0.isEmpty ? "" : "may have \($0)" } ?? ""),
    ]
  }

  private func section(_ title: String, _ specs: [TensorSpecReport]) {
    guard !specs.isEmpty else { return }
    print(title)
    let width = specs.map(\.name.count).max() ?? 0
    for spec in specs {
      let shape = spec.shape.enumerated().map { $1 > 0 ? String($1) : $0 == 0 ? "rows" : "places" }
        .joined(separator: ", ")
      var line = "  " + spec.name + String(repeating: " ", count: width - spec.name.count)
      line += "  \(spec.type?.description ?? "UNKNOWN") [\(shape)]"
      if spec.isText { line += ", free text" }
      if spec.optional { line += ", may be missing" }
      if !spec.categories.isEmpty { line += ", one of " + Self.list(spec.categories) }
      if !spec.summary.isEmpty { line += "  \(spec.summary)" }
      print(line)
    }
  }

  private func pairs(_ title: String, _ values: [String: String]) {
    guard !values.isEmpty else { return }
    print(title)
    let width = values.keys.map(\.count).max() ?? 0
    for (key, value) in values.sorted(by: { $0.key < $1.key }) {
      print("  " + key + String(repeating: " ", count: width - key.count) + "  " + value)
    }
  }

  private static func list(_ words: [String]) -> String {
    words.prefix(12).joined(separator: ", ") + (words.count > 12 ? ", … (\(words.count))" : "")
  }
}
