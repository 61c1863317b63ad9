internal import ArgumentParser
internal import Foundation
internal import NeedletailBundle
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailModels
internal import NeedletailSystem
internal import NeedletailYAML

struct RolloutCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rollout",
    abstract: "Show, change or undo which versions of a model answer.",
    subcommands: [RolloutShow.self, RolloutSet.self, RolloutUndo.self, RolloutRetire.self])
}

struct RolloutShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show shares, labels, shadow and quarantined versions, with counts per version.")

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let report = try await server.withClient { try await $0.rollout(model) }
    if json { return try printJSON(report.json) }
    RolloutPrinter(report).print()
  }
}

struct RolloutUndo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "undo", abstract: "Take one step back: a swap of one pointer, in force when this returns.",
    discussion: """
      From the arms of a split to the version they are compared with, else from the version that serves to \
      the one that served before. The versions left are quarantined: they get no traffic until `rollout set` says so.

      After a guard has gone back by itself, an undo would take the good version too: it is refused unless --from names \
      the version or --force is given. Ends with 1 if the step is in force, but not on the disk of the server.
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Option(help: ArgumentHelp("Take the traffic of this version, which must have some.", valueName: "VERSION"))
  var from: UInt64?

  @Flag(help: "Go back although a guard has gone back already.")
  var force = false

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func validate() throws {
    guard from != 0 else { throw ValidationError("--from: expected a version from 1, found 0.") }
  }

  func run() async throws {
    let report = try await server.withClient { client in
      do {
        return try await client.undoRollout(of: model, from: from, isForced: force)
      } catch let error as ClientError where error.code == .invalidArgument && from == nil {
        throw Failure("\(error.message) (--from VERSION or --force)")
      }
    }
    if json {
      try printJSON(report.json)
    } else {
      say(report)
    }
    guard report.stateProblem.isEmpty else {
      throw Failure(
        "in force, but a restart of the server forgets it: its state is not on the disk, \(report.stateProblem); "
          + "the server tries again until it is")
    }
  }

  private func say(_ report: RolloutReport) {
    let left = report.quarantined.filter { $0.cause == QuarantineCause.undo.rawValue }.map { String($0.version) }
    print(
      TerminalTable.styled("undone", .good)
        + ": \(model)@\(report.servingVersion) answers, quarantined: \(left.joined(separator: ", "))")
    if !report.isDurable && report.stateProblem.isEmpty {
      notice("a restart of the server forgets this: it has no state_directory; `needletail rollout set` would last")
    }
  }
}

struct RolloutSet: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Write a model's rollout.yaml into the store, whole or not at all.",
    discussion: """
      Keys that are not named stay as they are in the file; comments are not kept. A server sees the file within \
      two seconds. Versions that were quarantined, by undo or by a guard, may serve again.
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Option(help: ArgumentHelp("Directory of models, or s3://BUCKET/PREFIX.", valueName: "store"))
  var store: String

  @Option(help: ArgumentHelp("What answers requests without a selector; none retires.", valueName: "latest|none|N|N,M"))
  var serve: String?

  @Option(help: ArgumentHelp("Labels, all of them, or none.", valueName: "NAME=VERSION,…"))
  var labels: String?

  @Option(help: ArgumentHelp("Percent of the requests, or none.", valueName: "NAME=PERCENT,…"))
  var split: String?

  @Option(help: ArgumentHelp("The version that gets copies of requests, or none.", valueName: "LABEL|VERSION"))
  var shadow: String?

  @Option(
    name: .customLong("guard"),
    help: ArgumentHelp("Limits of automatic rollback, or none.", valueName: "nan_rate=0,window=30s,…"))
  var limits: String?

  @Option(
    help: ArgumentHelp(
      "What is found out about the arms of the split, or none.", valueName: "metric=accuracy,error=0.05,…"))
  var experiment: String?

  @Option(help: ArgumentHelp("Previous versions that stay in memory.", valueName: "n"))
  var keep: Int?

  @Flag(help: "Start from an empty file.")
  var reset = false

  func run() async throws {
    let name: ModelID
    do throws(ServingError) { name = try ModelID(model) } catch { throw Failure(error.message) }
    let source = try RolloutStore(store)
    var keys: [String: String] = [:]
    if !reset {
      switch try source.rollout(of: name) {
      case .file(let file): keys = Self.keys(of: file.policy)
      case .invalid(let reason): throw Failure("\(reason); --reset starts anew")
      case nil: break
      }
    }
    for (key, value) in [
      ("serve", serve.map { $0.contains(",") ? "[\($0)]" : $0 }), ("labels", labels.map(Self.mapping)),
      ("split", split.map(Self.mapping)), ("shadow", shadow), ("guard", limits.map(Self.mapping)),
      ("experiment", experiment.map(Self.mapping)),
      ("keep", keep.map(String.init)),
    ] {
      guard let value else { continue }
      keys[key] = value == "none" && key != "serve" ? nil : value
    }
    guard !keys.isEmpty else { throw Failure("rollout set: expected --serve or another option, found none") }
    let order = ["serve", "labels", "split", "shadow", "guard", "experiment", "keep"]
    try source.write(
      "rollout set", order.compactMap { key in keys[key].map { "\(key): \($0)\n" } }.joined(), of: name)
  }

  /// Turns `a=1,b=2` into a mapping of YAML.
  private static func mapping(_ text: String) -> String {
    guard text != "none" else { return text }
    let pairs = text.split(separator: ",").map { pair in
      pair.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: ": ")
    }
    return "{\(pairs.joined(separator: ", "))}"
  }

  /// The values of a policy by their keys.
  private static func keys(of policy: RolloutPolicy) -> [String: String] {
    var keys: [String: String] = [:]
    for line in policy.yaml.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      keys[String(parts[0])] = String(parts[1]).trimmingCharacters(in: .whitespaces)
    }
    return keys
  }
}

struct RolloutRetire: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retire", abstract: "Let a model go: write serve: none into its rollout.yaml.",
    discussion: """
      A server that sees the file answers no more requests for the model, with NOT_FOUND, and frees its memory. To delete \
      its files is safe before and after. `rollout set --reset --serve latest` brings the model back.
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Option(help: ArgumentHelp("Directory of models, or s3://BUCKET/PREFIX.", valueName: "store"))
  var store: String

  func run() async throws {
    let name: ModelID
    do throws(ServingError) { name = try ModelID(model) } catch { throw Failure(error.message) }
    try RolloutStore(store).write("rollout retire", "serve: none\n", of: name, creatingDirectory: true)
  }
}

/// Prints a rollout for people.
struct RolloutPrinter {
  private let report: RolloutReport

  init(_ report: RolloutReport) { self.report = report }

  func print() {
    var table = TerminalTable([
      ("VERSION", .right), ("LABELS", .left), ("SHARE", .right), ("REQUESTS", .right), ("FAILED", .right),
      ("NAN", .right), ("COMPUTE", .right), ("AGAINST SERVING", .left),
    ])
    for arm in report.arms {
      let isServing = arm.version == report.servingVersion
      table.append([
        (String(arm.version) + (isServing ? "*" : ""), isServing ? .good : .plain),
        (BundleOutput.plain(arm.labels.joined(separator: ",")), .plain),
        (Self.percent(Double(arm.shareMillionths) / 1e6), .plain),
        (String(arm.requests), .plain), (String(arm.failed), arm.failed > 0 ? .bad : .plain),
        (String(arm.nonFinite), arm.nonFinite > 0 ? .bad : .plain),
        (String(format: "%.1f µs", Double(arm.computeNanoseconds) / 1000), .plain),
        (isServing ? "" : RolloutComparison(arm, report).text, .plain),
      ])
    }
    table.print()
    for label in report.labels where label.answering != label.version {
      let answer = label.answering == 0 ? "no version answers" : "version \(label.answering) answers"
      Swift.print(
        TerminalTable.styled("label \(BundleOutput.plain(label.name))", .bad)
          + ": version \(label.version) is \(BundleOutput.plain(label.reason)); \(answer)")
    }
    if let shadow = report.shadow, !shadow.problem.isEmpty {
      Swift.print(TerminalTable.styled("shadow \(shadow.version)", .bad) + ": \(BundleOutput.plain(shadow.problem))")
    }
    if let shadow = report.shadow, shadow.problem.isEmpty || shadow.rows > 0 {
      Swift.print(
        "shadow \(shadow.version): \(shadow.rows) rows compared, \(shadow.skipped) left out, "
          + "\(shadow.flips) other classes, \(shadow.nonFinite) NaN, largest difference \(shadow.maxDifference), "
          + String(format: "%.1f µs", Double(shadow.computeNanoseconds) / 1000))
    }
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    for entry in report.quarantined {
      Swift.print(
        TerminalTable.styled("quarantined", .bad)
          + ": \(entry.version), \(BundleOutput.plain(entry.cause)), "
          + "\(MessageFormat.age(since: entry.sinceMilliseconds, now: now)): \(BundleOutput.plain(entry.reason))"
      )
    }
    if !report.problem.isEmpty {
      Swift.print(TerminalTable.styled("problem", .bad) + ": " + BundleOutput.plain(report.problem))
    }
    if !report.stateProblem.isEmpty {
      Swift.print(
        TerminalTable.styled("not on the disk", .bad) + ": " + BundleOutput.plain(report.stateProblem)
          + "; a restart of the server forgets what was undone or quarantined")
    }
    if !report.file.isEmpty {
      Swift.print("rollout.yaml:")
      for line in report.file.split(whereSeparator: \.isNewline) { Swift.print(BundleOutput.plain(String(line))) }
    }
  }

  static func percent(_ share: Double) -> String { String(format: "%.2f %%", share * 100) }
}

/// Whether a version fails more often than the one that serves.
struct RolloutComparison {
  let test: TwoProportionTest?

  init(_ arm: RolloutReport.Arm, _ report: RolloutReport) {
    let serving = report.arms.first { $0.version == report.servingVersion }
    test = serving.flatMap {
      TwoProportionTest(failures: arm.failed, of: arm.requests, against: $0.failed, of: $0.requests)
    }
  }

  var text: String {
    guard let test else { return "too few to tell" }
    let word = test.pValue >= 0.05 ? "no difference" : test.z > 0 ? "fails more often" : "fails less often"
    return String(format: "%@ (z %.2f, p %.3g)", word, test.z, test.pValue)
  }
}

extension RolloutReport {
  /// The shape of `--json`.
  var json: JSONObject {
    [
      "model": model, "serving_version": servingVersion, "arms": arms.map(json), "labels": labels.map(\.json),
      "set_aside": quarantined.map(\.json),
      "shadow": shadow?.json, "file": file, "problem": problem, "durable": isDurable,
      // Why it is not durable, although the server has a state directory.
      "state_problem": stateProblem,
    ]
  }

  private func json(_ arm: Arm) -> JSONObject {
    let test = arm.version == servingVersion ? nil : RolloutComparison(arm, self).test
    return [
      "version": arm.version, "labels": arm.labels, "share": Double(arm.shareMillionths) / 1e6,
      "requests": arm.requests, "failed": arm.failed, "rows": arm.rows, "nan_outputs": arm.nonFinite,
      "compute_ns": arm.computeNanoseconds,
      // Compared with the version that serves; absent if there are too few requests.
      "z": test?.z, "p_value": test?.pValue,
    ]
  }
}

extension RolloutReport.Label {
  fileprivate var json: JSONObject {
    [
      "name": name, "version": version,
      // The version that answers; 0 if none does.
      "answering": answering,
      // Absent if the store does not hold the version.
      "state": state?.description, "reason": reason,
    ]
  }
}

extension RolloutReport.Quarantined {
  fileprivate var json: JSONObject {
    ["version": version, "cause": cause, "reason": reason, "since_ms": sinceMilliseconds]
  }
}

extension RolloutReport.Shadow {
  fileprivate var json: JSONObject {
    [
      "version": version, "rows": rows, "flips": flips, "skipped": skipped, "nan_outputs": nonFinite,
      "max_difference": maxDifference, "compute_ns": computeNanoseconds,
      // Why it is given no rows, or none of some version.
      "problem": problem,
    ]
  }
}
