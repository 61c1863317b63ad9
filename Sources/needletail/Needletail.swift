internal import ArgumentParser
internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

@main
struct Needletail: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail",
    abstract: "Ask a Needletail server for predictions, models and figures; explain answers; handle bundles and keys.",
    discussion: """
      The server is --server, else the environment's NEEDLETAIL_SERVER, else 127.0.0.1:6470. Where it asks for \
      a key, NEEDLETAIL_API_KEY holds one, or NEEDLETAIL_API_KEY_FILE names its file; NEEDLETAIL_TLS_CA names the \
      CA of an encrypted one.
      """,
    version: needletailVersion,
    subcommands: [
      PredictCommand.self, EmbedCommand.self, ModelsCommand.self, HealthCommand.self, MetricsCommand.self,
      ServerCommand.self, EventsCommand.self, RolloutCommand.self, DriftCommand.self, FeedbackCommand.self,
      ExperimentCommand.self,
      BenchCommand.self, CaptureCommand.self, ReplayCommand.self, BundleCommand.self, ExplainCommand.self,
      KeyCommand.self,
    ])
}

/// The options of all commands that ask a server: its address, encryption, key and timeout.
struct ServerOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Where the server listens.", valueName: "HOST:PORT|unix:PATH"))
  var server: String?

  @Option(help: ArgumentHelp("Give up after this time, e.g. 250ms, 5s or 1m.", valueName: "time"))
  var timeout = TimeSpan(duration: .seconds(10), text: "10s")

  @Flag(help: "Encrypt, and trust the CAs of the system; the options below imply it.")
  var tls = false

  @Option(
    name: .customLong("tls-ca"),
    help: ArgumentHelp("CA (PEM) that issued the server's certificate [NEEDLETAIL_TLS_CA].", valueName: "file"))
  var tlsCA: String?

  @Option(help: ArgumentHelp("Own certificate (PEM), for a server that asks for one.", valueName: "file"))
  var tlsCertificate: String?

  @Option(help: ArgumentHelp("Private key (PEM) of the own certificate.", valueName: "file"))
  var tlsKey: String?

  @Option(help: ArgumentHelp("Name in the server's certificate, if not that of --server.", valueName: "name"))
  var tlsName: String?

  @Option(
    name: .customLong("api-key"),
    help: ArgumentHelp(
      "API key; others on this machine see it in the list of processes [NEEDLETAIL_API_KEY].", valueName: "key"))
  var apiKey: String?

  @Option(
    name: .customLong("api-key-file"),
    help: ArgumentHelp("File with the API key [NEEDLETAIL_API_KEY_FILE].", valueName: "file"))
  var apiKeyFile: String?

  func address() throws -> ServerAddress {
    let text = server ?? ProcessInfo.processInfo.environment["NEEDLETAIL_SERVER"] ?? ""
    return text.isEmpty ? .standard : try ServerAddress(text)
  }

  /// Encryption; nil: none.
  var encryption: ClientTLS? {
    let ca = tlsCA ?? Self.environment("NEEDLETAIL_TLS_CA")
    guard tls || ca != nil || tlsCertificate != nil || tlsKey != nil || tlsName != nil else { return nil }
    return ClientTLS(ca: ca, certificate: tlsCertificate, key: tlsKey, serverName: tlsName)
  }

  /// The API key; flags take precedence over the environment.
  func key() throws -> String? {
    guard apiKey == nil || apiKeyFile == nil else {
      throw ValidationError("--api-key and --api-key-file: expected one of them, found both")
    }
    if let apiKey { return apiKey }
    if let apiKeyFile { return try Self.key(inFile: apiKeyFile) }
    if let key = Self.environment("NEEDLETAIL_API_KEY") { return key }
    return try Self.environment("NEEDLETAIL_API_KEY_FILE").map(Self.key(inFile:))
  }

  private static func key(inFile path: String) throws -> String {
    let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    guard let line = text.split(whereSeparator: \.isNewline).first else {
      throw Failure("API key file \(path): expected a line with a key, found none")
    }
    return line.trimmingCharacters(in: .whitespaces)
  }

  private static func environment(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Runs `body` with a connection and closes it.
  /// - Parameter timeoutMin: shortest timeout, for calls that `--timeout` is not meant for.
  func withClient<Result>(
    timeoutMin: Duration = .zero, _ body: (NeedletailClient) async throws -> Result
  ) async throws -> Result {
    let address = try address()
    var configuration = NeedletailClient.Configuration()
    configuration.tls = encryption
    configuration.apiKey = try key()
    configuration.connectTimeout = max(timeout.duration, timeoutMin)
    configuration.defaultTimeout = max(timeout.duration, timeoutMin)
    let client: NeedletailClient
    do throws(ClientError) {
      client = try await .connect(to: address, configuration: configuration)
    } catch {
      guard error.origin == .connect else { throw error }
      throw Failure("\(error.message); start one with `needletail-server --store DIR`, or name yours with --server")
    }
    do {
      let result = try await body(client)
      await client.close()
      return result
    } catch {
      await client.close()
      throw error
    }
  }
}

/// An error whose sentence is printed before the program exits with 1.
struct Failure: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}

/// A length of time as people write it.
struct TimeSpan: ExpressibleByArgument, CustomStringConvertible {
  var duration: Duration
  var text: String

  init(duration: Duration, text: String) {
    self.duration = duration
    self.text = text
  }

  init?(argument: String) {
    let digits = argument.prefix { $0.isNumber || $0 == "." }
    guard let number = Double(digits), number > 0, number < 1e6 else { return nil }
    let milliseconds: Double
    switch argument.dropFirst(digits.count) {
    case "us", "µs": milliseconds = number / 1e3
    case "ms": milliseconds = number
    case "s", "": milliseconds = number * 1e3
    case "m": milliseconds = number * 6e4
    default: return nil
    }
    self.init(duration: .microseconds(max(1, Int64(milliseconds * 1e3))), text: argument)
  }

  var description: String { text }
}

/// `MODEL`, `MODEL@VERSION` or `MODEL@LABEL`.
struct ModelReference: ExpressibleByArgument {
  var model: String
  var selector: VersionSelector

  init?(argument: String) {
    let parts = argument.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    guard let name = parts.first, !name.isEmpty else { return nil }
    model = String(name)
    guard parts.count == 2 else {
      selector = .serving
      return
    }
    guard !parts[1].isEmpty else { return nil }
    selector = UInt64(parts[1]).map { .version($0) } ?? .label(String(parts[1]))
  }
}

struct HealthCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health",
    abstract: "Say whether the server takes traffic: exit code 0 if it does, 1 if not.")

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let report = try await server.withClient { try await $0.health() }
    if json {
      try printJSON(report.json)
    } else {
      let word = report.ready ? "ready" : "not ready"
      print(TerminalTable.styled(word, report.ready ? .good : .bad) + ": " + Self.summary(report.models))
    }
    if !report.ready { throw ExitCode.failure }
  }

  private static func summary(_ models: [ModelStatusReport]) -> String {
    guard !models.isEmpty else { return "no models" }
    return models.map { model in
      model.servingVersion > 0 ? "\(model.model)@\(model.servingVersion)" : "\(model.model) (none live)"
    }.joined(separator: ", ")
  }
}

struct MetricsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Print the server's metrics in Prometheus' text format.")

  @Option(help: ArgumentHelp("Only the metrics whose name contains this.", valueName: "text"))
  var filter: String?

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let text = try await server.withClient { try await $0.metrics() }
    for line in text.split(separator: "\n") where filter.map({ Self.name(of: line).contains($0) }) ?? true {
      print(line)
    }
  }

  /// `# HELP name …`, `# TYPE name …` or `name{…} value`.
  private static func name(of line: Substring) -> Substring {
    if line.hasPrefix("# ") { return line.split(separator: " ").dropFirst(2).first ?? "" }
    return line.prefix { $0 != "{" && $0 != " " }
  }
}
