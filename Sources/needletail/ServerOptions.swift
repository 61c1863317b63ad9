internal import ArgumentParser
internal import Foundation
internal import NeedletailClient

/// Which server to ask and how long to wait, the same for every command.
struct ServerOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Where the server listens.", valueName: "HOST:PORT|unix:PATH"))
  var server: String?

  @Option(help: ArgumentHelp("Give up after this time, e.g. 250ms, 5s or 1m.", valueName: "time"))
  var timeout = TimeSpan(duration: .seconds(10), text: "10s")

  func address() throws -> ServerAddress {
    let text = server ?? ProcessInfo.processInfo.environment["NEEDLETAIL_SERVER"] ?? ""
    return text.isEmpty ? .standard : try ServerAddress(text)
  }

  /// Runs `body` with a connection and closes it.
  /// - Parameter patience: what is waited at least, where `--timeout` is meant for other calls.
  func withClient<Result>(
    patience: Duration = .zero, _ body: (NeedletailClient) async throws -> Result
  ) async throws -> Result {
    let address = try address()
    var configuration = NeedletailClient.Configuration()
    configuration.connectTimeout = max(timeout.duration, patience)
    configuration.defaultTimeout = max(timeout.duration, patience)
    let client: NeedletailClient
    do throws(ClientError) {
      client = try await .connect(to: address, configuration: configuration)
    } catch {
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

/// What a user is told in one line before the program exits with 1.
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
