internal import ArgumentParser
internal import Foundation
internal import NeedletailCore
internal import NeedletailSecurity
internal import NeedletailYAML

/// `needletail key …`: works on keys and key files, needs no server.
struct KeyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key",
    abstract: "Make API keys and check key files.",
    subcommands: [KeyGenerate.self, KeyHash.self, KeyCheck.self])
}

/// `needletail key generate NAME`.
struct KeyGenerate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Make an API key: 256 random bits.",
    discussion: """
      Prints the key on standard output, once: the server keeps its hash only. The entry for the server's key file \
      goes to standard error, so that both can be caught:

        needletail key generate checkout --models wine,fraud-* --calls predict,health > checkout.key 2>> keys.yaml
      """)

  @Argument(help: "Name of the key, e.g. checkout. It stands in messages to its holder.")
  var name: String

  @Option(help: ArgumentHelp("Models it reaches, by commas; * and ? stand for any characters.", valueName: "patterns"))
  var models = "*"

  @Option(
    help: ArgumentHelp(
      "Calls it may make, by commas: \(AccessCalls.names.map(\.name).joined(separator: ", ")).", valueName: "calls"))
  var calls = AccessCalls.reading.words.joined(separator: ",")

  @Option(help: ArgumentHelp("Requests a second, over all connections.", valueName: "n"))
  var requestsPerSecond: Int?

  @Option(help: ArgumentHelp("Rows a second, over all connections.", valueName: "n"))
  var rowsPerSecond: Int?

  @Option(help: ArgumentHelp("Calls in flight, over all connections.", valueName: "n"))
  var inFlight: Int?

  func run() async throws {
    let key = APIKey()
    let entry = entry(for: key)
    // The printed text is what a server reads.
    do throws(YAMLError) {
      _ = try KeyFile.parse("keys:\n" + entry, path: "")
    } catch {
      throw Failure(error.problem)
    }
    print(key.text)
    FileHandle.standardError.write(Data(entry.utf8))
  }

  private func entry(for key: APIKey) -> String {
    func list(_ words: String) -> String {
      let quoted = words.split(separator: ",").map { $0.filter { $0 != " " }.jsonQuoted }
      return "[" + quoted.joined(separator: ", ") + "]"
    }
    let limits = [
      ("requests_per_second", requestsPerSecond), ("rows_per_second", rowsPerSecond), ("in_flight", inFlight),
    ].compactMap { name, limit in limit.map { "\(name): \($0)" } }
    var lines = [
      "  - name: \(name.jsonQuoted)", "    hash: \(key.digest)", "    models: \(list(models))",
      "    calls: \(list(calls))", "    state: active",
    ]
    if !limits.isEmpty { lines.append("    limits: {\(limits.joined(separator: ", "))}") }
    return lines.map { $0 + "\n" }.joined()
  }
}

/// `needletail key hash`.
struct KeyHash: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hash",
    abstract: "Print what a key file holds of the key on standard input.")

  func run() async throws {
    guard let line = readLine(), !line.isEmpty else { throw Failure("expected a key on standard input, found none") }
    var key = line
    print(key.withUTF8 { KeyDigest(of: UnsafeRawBufferPointer($0)) })
  }
}

/// `needletail key check FILE`.
struct KeyCheck: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Read a key file as a server would, and list what it grants.")

  @Argument(help: "A key file (YAML).", completion: .file(extensions: ["yaml"]))
  var file: String

  func run() async throws {
    let grants: [Grant]
    do throws(YAMLError) {
      grants = try KeyFile.read(path: file)
    } catch {
      throw Failure(error.description)
    }
    var table = TerminalTable([
      ("NAME", .left), ("KIND", .left), ("STATE", .left), ("MODELS", .left), ("CALLS", .left), ("LIMITS", .left),
    ])
    for grant in grants {
      let kind =
        switch grant.credential {
        case .key: "key"
        case .certificate(let subject): "certificate \(BundleOutput.plain(subject))"
        }
      table.append([
        (grant.name, .plain), (kind, .plain), (grant.state.rawValue, grant.state == .active ? .good : .bad),
        (BundleOutput.plain(grant.models.map(\.description).joined(separator: " ")), .plain),
        (grant.calls.words.joined(separator: " "), .plain), (Self.text(of: grant.bounds), .plain),
      ])
    }
    if grants.isEmpty { notice("the file grants nothing to anybody") } else { table.print() }
  }

  private static func text(of bounds: Grant.Bounds) -> String {
    [
      bounds.requestsPerSecond.map { "\($0) requests/s" }, bounds.rowsPerSecond.map { "\($0) rows/s" },
      bounds.inFlightMax.map { "\($0) in flight" },
    ].compactMap(\.self).joined(separator: ", ")
  }
}
