internal import ArgumentParser
internal import Foundation
internal import NeedletailClient

struct ModelsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "models",
    abstract: "List models and their versions, or describe one.")

  @Argument(help: ArgumentHelp("Describe this model.", valueName: "MODEL[@VERSION|@LABEL]"))
  var model: ModelReference?

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    guard let model else { return try await list() }
    let description = try await server.withClient {
      try await $0.describeModel(model.model, selector: model.selector)
    }
    if json {
      try printJSON(DescriptionJSON(description))
    } else {
      DescriptionPrinter(description).print()
    }
  }

  private func list() async throws {
    let report = try await server.withClient { try await $0.listModels() }
    if json { return try printJSON(ModelListJSON(report)) }
    var table = TerminalTable([
      ("MODEL", .left), ("SERVING", .right), ("VERSION", .right), ("STATE", .left), ("SINCE", .right),
      ("DIGEST", .left), ("SIGNER", .left), ("REASON", .left),
    ])
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    for model in report.models {
      let serving = model.servingVersion > 0 ? String(model.servingVersion) : "-"
      if model.versions.isEmpty { table.append([model.model, serving, "-", "-", "-", "-", "-", ""]) }
      for version in model.versions {
        table.append([
          (model.model, .plain), (serving, .plain), (String(version.version), .plain),
          (version.state?.description ?? "unknown", Self.style(version.state)),
          (RelativeTime.text(since: version.sinceMilliseconds, now: now), .plain),
          (version.digest.isEmpty ? "-" : String(version.digest.prefix(12)), .plain),
          (version.signer.isEmpty ? "-" : version.signer, .plain), (version.reason, .plain),
        ])
      }
    }
    if report.models.isEmpty { notice("the store holds no models") } else { table.print() }
    for problem in report.problems {
      print(TerminalTable.styled("problem", .bad) + ": \(problem.path): \(problem.reason)")
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

/// Times as people say them.
enum RelativeTime {
  static func text(since milliseconds: UInt64, now: UInt64) -> String {
    guard milliseconds > 0 else { return "-" }
    // A server's clock may be ahead of ours.
    let seconds = milliseconds < now ? (now - milliseconds) / 1000 : 0
    switch seconds {
    case ..<120: return "\(seconds) s ago"
    case ..<7200: return "\(seconds / 60) min ago"
    case ..<172_800: return "\(seconds / 3600) h ago"
    default: return "\(seconds / 86_400) d ago"
    }
  }
}
