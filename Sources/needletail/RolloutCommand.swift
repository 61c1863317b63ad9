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
    subcommands: [RolloutShow.self, RolloutSet.self, RolloutUndo.self])
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
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let report = try await server.withClient { try await $0.undoRollout(of: model) }
    if json { return try printJSON(report.json) }
    let left = report.quarantined.filter { $0.cause == QuarantineCause.undo.rawValue }.map { String($0.version) }
    print(
      TerminalTable.styled("undone", .good)
        + ": \(model)@\(report.servingVersion) answers, quarantined: \(left.joined(separator: ", "))")
    if !report.isDurable {
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

  @Option(help: ArgumentHelp("Directory of models.", valueName: "dir"))
  var store: String

  @Option(help: ArgumentHelp("What answers requests without a selector.", valueName: "latest|N|N,M"))
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

  @Option(help: ArgumentHelp("Previous versions that stay in memory.", valueName: "n"))
  var keep: Int?

  @Flag(help: "Start from an empty file.")
  var reset = false

  func run() async throws {
    let name: ModelID
    do throws(ServingError) { name = try ModelID(model) } catch { throw Failure(error.message) }
    let source: DirectoryStore
    do throws(BundleError) { source = try DirectoryStore(store) } catch { throw Failure(error.message) }
    var keys: [String: String] = [:]
    if !reset {
      switch source.rollout(of: name) {
      case .file(let file): keys = Self.keys(of: file.policy)
      case .invalid(let reason): throw Failure("\(reason); --reset starts anew")
      case nil: break
      }
    }
    for (key, value) in [
      ("serve", serve.map { $0.contains(",") ? "[\($0)]" : $0 }), ("labels", labels.map(Self.mapping)),
      ("split", split.map(Self.mapping)), ("shadow", shadow), ("guard", limits.map(Self.mapping)),
      ("keep", keep.map(String.init)),
    ] {
      guard let value else { continue }
      keys[key] = value == "none" ? nil : value
    }
    guard !keys.isEmpty else { throw Failure("rollout set: expected --serve or another option, found none") }
    let order = ["serve", "labels", "split", "shadow", "guard", "keep"]
    // The time makes it a new file even if it says what the last one said, so that it ends a quarantine.
    let text =
      "# needletail rollout set, \(UnixTime.text(milliseconds: UnixTime.nowMilliseconds()))\n"
      + order.compactMap { key in keys[key].map { "\(key): \($0)\n" } }.joined()
    do {
      let file = try RolloutFile(parsing: text)
      let path = try source.writeRollout(file.text, of: name)
      print("\(path):\n" + file.policy.yaml, terminator: "")
    } catch let error as YAMLError {
      throw Failure(error.description)
    } catch let error as BundleError {
      throw Failure(error.message)
    }
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
