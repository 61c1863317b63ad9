internal import NeedletailClient

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
