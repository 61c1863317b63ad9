import Foundation
import NeedletailClient
import NeedletailCore
import NeedletailTestSupport
import Synchronization

/// Many calls on a few connections.
struct Callers {
  let count: Int
  let key: @Sendable (Int) -> String

  /// - Returns: the version that answered each call; an answer whose value is another's is 0.
  func run(_ test: TestServer) async throws -> [UInt64] {
    let connections = 4
    return try await withThrowingTaskGroup(of: [(Int, UInt64)].self) { group in
      for connection in 0..<connections {
        let client = try await test.client()
        group.addTask {
          var answers: [(Int, UInt64)] = []
          for index in stride(from: connection, to: count, by: connections) {
            let answer = try await client.predict(
              "m", inputs: [.features([0], columns: 1)], routingKey: key(index))
            answers.append((index, answer.floats("prediction") == [Float(answer.version)] ? answer.version : 0))
          }
          await client.close()
          return answers
        }
      }
      var versions = [UInt64](repeating: 0, count: count)
      for try await answers in group {
        for (index, version) in answers { versions[index] = version }
      }
      return versions
    }
  }
}

/// Clients that ask for (10, 10) without pause, and tell right answers from what a bad version gives.
final class GuardedTraffic: Sendable {
  struct Counts: Sendable {
    var good = 0
    /// Calls that the bad version answered or refused.
    var bad = 0
    /// Answers of a good version other than 20.
    var wrong = 0
    /// From the first to the last call that met the bad version.
    var badSeconds = 0.0
  }

  private struct State {
    var counts = Counts()
    var firstBad: Instant?
    var isStopped = false
  }

  private let state = Mutex(State())

  var counts: Counts { state.withLock { $0.counts } }

  func stop() { state.withLock { $0.isStopped = true } }

  func run(_ client: NeedletailClient) async {
    let inputs = [InputTensor.features([10, 10], columns: 2)]
    while !state.withLock({ $0.isStopped }) {
      let answer = try? await client.predict("m", inputs: inputs)
      let now = Instant.now()
      state.withLock { state in
        if let answer, answer.version == 1 {
          state.counts.good += 1
          if answer.floats("prediction") != [20] { state.counts.wrong += 1 }
        } else {
          state.counts.bad += 1
          let first = state.firstBad ?? now
          state.firstBad = first
          state.counts.badSeconds = Double(now.microseconds(since: first)) / 1e6
        }
      }
    }
    await client.close()
  }

  func wait(until condition: @Sendable (Counts) -> Bool) async throws {
    while !condition(counts) { try await Task.sleep(for: .milliseconds(5)) }
  }
}

/// The server as a process of its own, on a Unix socket.
final class ServerProcessFixture {
  private let process: ChildProcess
  private let socket: String

  init(_ directory: TemporaryDirectory) throws {
    socket = directory.file("s")
    // Programs stand beside the tests.
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let program = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("needletail-server")
    process = try ChildProcess([
      program.path, "--store", directory.file("store"), "--state-directory", directory.file("state"),
      "--allow-unsigned",
      "--listen", "none", "--admin", "none", "--unix", socket, "--threads", "1", "--log-level", "warning",
    ])
  }

  /// A connection, once the server listens and the model answers.
  func client(servingModel model: String) async throws -> NeedletailClient {
    for _ in 0..<1000 {
      if let client = try? await NeedletailClient.connect(to: .unix(path: socket)) {
        while true {
          let models = try await client.listModels().models
          if models.contains(where: { $0.model == model && $0.servingVersion > 0 }) { return client }
          try await Task.sleep(for: .milliseconds(10))
        }
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw CancellationError()
  }

  func kill() { process.kill() }
}
