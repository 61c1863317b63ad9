import Foundation
import Logging
import NeedletailBundle
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailTestSupport
import Synchronization

@testable import NeedletailServer

/// A server on free ports with a store of its own, in this process.
final class TestServer: Sendable {
  let directory: TemporaryDirectory
  let server: NeedletailServer
  let log: LogRecorder
  /// What bundles are signed with.
  private let keys: [SigningKey]
  private let running: Task<Void, any Error>

  /// Runs `body` against a server, and stops it whatever happens.
  /// - Parameters:
  ///   - models: bundles that stand in the store at start, by name; each becomes version 1.
  ///   - signed: whether bundles are signed and only signed ones accepted.
  static func with<Result>(
    models: [String: ModelDefinition] = [:], signed: Bool = false,
    configure: (inout ServerConfiguration) -> Void = { _ in },
    _ body: (TestServer) async throws -> Result
  ) async throws -> Result {
    let test = try await TestServer(models: models, signed: signed, configure: configure)
    do {
      try await test.server.waitUntilSettled()
      let result = try await body(test)
      try await test.stop()
      return result
    } catch {
      try? await test.stop()
      throw error
    }
  }

  init(
    models: [String: ModelDefinition], signed: Bool = false, configure: (inout ServerConfiguration) -> Void
  ) async throws {
    directory = try TemporaryDirectory()
    keys = signed ? [BundleFixtures.key] : []
    var configuration = ServerConfiguration(store: directory.file("store"), allowUnsigned: !signed)
    if signed {
      let trust = "keys:\n  - name: release\n    public_key: \(BundleFixtures.key.publicKey)\n"
      configuration.trust = try directory.write(Array(trust.utf8), to: "trust.yaml")
    }
    configuration.listen = ListenAddress(host: "127.0.0.1", port: 0)
    configuration.admin = nil
    configuration.threads = 2
    configuration.grace = .zero
    // A busy machine must not make a test of something else one of overload.
    configuration.serving.inlineCost = .seconds(60)
    configuration.serving.tickTarget = .seconds(60)
    configuration.unix = directory.file("s")
    configure(&configuration)
    try FileManager.default.createDirectory(atPath: configuration.store, withIntermediateDirectories: true)
    for (name, definition) in models {
      try Self.publish(definition, name, 1, in: configuration.store, keys)
    }
    log = LogRecorder()
    let server = try await NeedletailServer(configuration, logger: log.logger, signals: false)
    self.server = server
    running = Task { try await server.run() }
  }

  /// Asks the server to stop and waits until it has.
  func stop() async throws {
    await server.stop()
    try await running.value
  }

  /// Waits for a server that was told to stop.
  func waitUntilStopped() async throws { try await running.value }

  var store: String { directory.file("store") }

  var address: ServerAddress {
    guard let tcp = server.tcpAddress else { preconditionFailure("this server has no TCP") }
    return .tcp(host: tcp.host, port: tcp.port)
  }

  func client() async throws -> NeedletailClient { try await .connect(to: address) }

  func publish(_ definition: ModelDefinition, _ model: String, _ version: UInt64) throws {
    try Self.publish(definition, model, version, in: store, keys)
  }

  private static func publish(
    _ definition: ModelDefinition, _ model: String, _ version: UInt64, in store: String, _ keys: [SigningKey]
  ) throws {
    let bytes = try BundleFixtures.bundle(
      model: model, version: version, BundleContents(definition: definition, golden: []), keys: keys)
    _ = try Publisher.publish(bytes, model: ModelID(model), version: ModelVersion(version)!, store: store)
  }

  /// Returns when `version` answers calls that name none.
  func waitUntilServing(_ model: String, _ version: UInt64) async throws {
    await server.modelStore.rescan()
    try await server.modelStore.wait { $0.model(model)?.serving?.number == version }
  }

  /// The sum of all series of `name` whose labels include `labels`.
  func metric(_ name: String, _ labels: [String: String] = [:]) async throws -> Double {
    let client = try await client()
    let text = try await client.metrics()
    await client.close()
    return Self.sum(of: name, labels, in: text)
  }

  static func sum(of name: String, _ labels: [String: String], in text: String) -> Double {
    var sum = 0.0
    for line in text.split(separator: "\n") where line.hasPrefix(name + "{") || line.hasPrefix(name + " ") {
      guard labels.allSatisfy({ line.contains("\($0.key)=\"\($0.value)\"") }),
        let value = line.split(separator: " ").last
      else { continue }
      sum += Double(value) ?? 0
    }
    return sum
  }
}

/// Keeps log lines.
final class LogRecorder: Sendable {
  private let kept = Mutex<[String]>([])

  var lines: [String] { kept.withLock { $0 } }

  var logger: Logger {
    Logger(label: "test") { _ in
      LineLogHandler(format: .text, level: .debug) { [self] line in kept.withLock { $0.append(line) } }
    }
  }
}
