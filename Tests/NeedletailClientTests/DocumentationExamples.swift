import NeedletailClient

// The examples of NeedletailClient.docc. Tests/handbook/snippets.py compares the text between two markers with the
// code block of that name in the catalog, so that what the pages show is compiled here and run by the tests.

enum DocumentationExamples {
  static func connect() async throws(ClientError) {
    // snippet: connect
    let address = try ServerAddress("127.0.0.1:6470")
    let client = try await NeedletailClient.connect(to: address)
    let health = try await client.health()
    print(health.ready, health.models.map(\.model))
    await client.close()
    // snippet end
  }

  static func predictDense(_ client: NeedletailClient) async throws(ClientError) -> [String] {
    // snippet: predict-dense
    // Two rows of the three features that the model takes, in the order of `describeModel`.
    let rows: [Float] = [
      0.5, -1.25, 3.0,
      0.0, 0.001, .nan,
    ]
    let answer = try await client.predict(
      "wine", inputs: [.features(rows, columns: 3)], timeout: .milliseconds(500))
    let labels = answer.strings("label") ?? []
    print("version \(answer.version) says \(labels)")
    // snippet end
    return labels
  }

  static func predictColumns(_ client: NeedletailClient) async throws(ClientError) -> Prediction {
    // snippet: predict-columns
    let answer = try await client.predict(
      "churn",
      inputs: [
        .column("age", [39, 52.5]),
        .column("plan", ["basic", ""]),  // an empty text is a missing category
      ],
      outputs: ["probabilities"])
    if let probabilities = answer["probabilities"] {
      print(probabilities.shape, probabilities.values)
    }
    // snippet end
    return answer
  }

  static func chooseVersion(_ client: NeedletailClient, inputs: [InputTensor]) async throws(ClientError) {
    // snippet: versions
    let served = try await client.predict("wine", inputs: inputs, routingKey: "customer-17")
    let second = try await client.predict("wine", selector: .version(2), inputs: inputs)
    let canary = try await client.predict("wine", selector: .label("canary"), inputs: inputs)
    print(served.version, second.version, canary.version)
    // snippet end
  }

  static func inFlight(_ client: NeedletailClient, batches: [[InputTensor]]) async throws -> [Prediction] {
    // snippet: in-flight
    let answers = try await withThrowingTaskGroup(of: Prediction.self) { group in
      for inputs in batches {
        group.addTask { try await client.predict("wine", inputs: inputs) }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    // snippet end
    return answers
  }

  static func handleErrors(_ client: NeedletailClient, inputs: [InputTensor]) async -> String {
    // snippet: errors
    do {
      let answer = try await client.predict("wine", inputs: inputs)
      return "version \(answer.version)"
    } catch {
      // `error` is a ClientError: calls throw nothing else.
      switch error.code {
      case .invalidArgument: return "mend the request: \(error.message)"
      case .deadlineExceeded: return "too late: \(error.message)"
      case _ where error.isSafeToRetry: return "try again: \(error.message)"
      default: return "give up: \(error.message)"
      }
    }
    // snippet end
  }

  static func secured(key: String) async throws(ClientError) -> NeedletailClient {
    // snippet: security
    var configuration = NeedletailClient.Configuration()
    configuration.tls = ClientTLS(
      ca: "/etc/needletail/ca.pem",
      certificate: "/etc/needletail/client.pem",
      key: "/etc/needletail/client.key")
    configuration.apiKey = key
    let client = try await NeedletailClient.connect(
      to: .tcp(host: "models.example.com", port: 6470), configuration: configuration)
    // snippet end
    return client
  }

  static func newEvents(_ client: NeedletailClient, after seen: UInt64) async throws(ClientError) -> UInt64 {
    // snippet: events
    let report = try await client.events(after: seen)
    for event in report.events {
      print(event.sequence, event.kind, event.severity, event.message)
    }
    let last = report.events.last?.sequence ?? seen
    // snippet end
    return last
  }
}

// snippet: retries
/// Repeats a call at most twice, while the server certainly did not execute it.
func withRetries<Answer>(
  _ call: () async throws(ClientError) -> Answer
) async throws(ClientError) -> Answer {
  for attempt in 1...2 {
    do {
      return try await call()
    } catch {
      guard error.isSafeToRetry else { throw error }
      // The server says how long it needs.
      // The random part keeps callers from returning all at once.
      let jitter = Double.random(in: 0...1000) * Double(attempt)
      let pause = Double(error.retryAfterMicroseconds) + jitter
      try? await Task.sleep(for: .microseconds(pause))
    }
  }
  return try await call()
}
// snippet end

// snippet: reconnect
/// Makes a new connection when the server has ended the old one.
actor ReconnectingClient {
  private let address: ServerAddress
  private var current: NeedletailClient?

  init(address: ServerAddress) {
    self.address = address
  }

  func predict(
    _ model: String, inputs: [InputTensor]
  ) async throws(ClientError) -> Prediction {
    if let current {
      do {
        return try await current.predict(model, inputs: inputs)
      } catch {
        // A new connection does not help where the server itself refused.
        guard error.isSafeToRetry, error.origin != .server else { throw error }
      }
    }
    let client = try await NeedletailClient.connect(to: address)
    current = client
    return try await client.predict(model, inputs: inputs)
  }
}
// snippet end
