import Foundation
import NeedletailCapture
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailSecurity
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Outcomes come in through both protocols, are joined with what the server answered, and show in metrics and on the
/// status page.
@Suite("Feedback at a server", .timeLimit(.minutes(1)))
struct FeedbackServerTests {
  private static let rules = """
    models:
      people: {window_seconds: 3600, groups: {colour: categories}, expected: 0.9}
      line: {}
    """
  private static let people: [InputTensor] = [
    .column("age", [30.5, 70]), .column("income", [55.5, 20]), .column("colour", ["green", "red"]),
  ]

  private static func with(
    configure: @escaping (inout ServerConfiguration) -> Void = { _ in },
    _ body: (TestServer) async throws -> Void
  ) async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(Array(rules.utf8), to: "feedback.yaml")
    try await TestServer.with(
      models: PredictTests.models,
      configure: {
        $0.feedbackRules = path
        $0.http = ListenAddress(host: "127.0.0.1", port: 0)
        configure(&$0)
      }
    ) { try await body($0) }
  }

  @Test func outcomesAreJoinedWithWhatWasAnswered() async throws {
    try await Self.with { test in
      let client = try await test.client()
      let answer = try await client.predict("people", inputs: Self.people, key: "order-1")
      let labels = try #require(answer.strings("label"))
      let other = labels[1] == "yes" ? "no" : "yes"
      let report = try await client.feedback(
        "people",
        outcomes: [
          .init(key: "order-1", truth: .label(labels[0])), .init(key: "order-1", row: 1, truth: .label(other)),
          .init(key: "order-1", truth: .label(labels[0])), .init(key: "order-1", row: 1, truth: .label(labels[1])),
          .init(key: "order-2", truth: .label("yes")), .init(key: "order-1", row: 2, truth: .label("yes")),
          .init(key: "order-1", truth: .label("maybe")), .init(key: "order-1", truth: .value(.nan)),
        ])
      #expect(
        [report.joined, report.duplicate, report.contradictory, report.unknown, report.invalid] == [2, 1, 1, 1, 3])
      #expect(report.problems.map(\.result) == ["duplicate", "contradictory", "unknown", "row", "class", "value"])
      #expect(report.problems.map(\.index) == [2, 3, 4, 5, 6, 7])
      #expect(report.problems[2].message.hasPrefix("outcomes[4]: expected the name of a prediction"))
      let text = try await client.metrics()
      func value(_ name: String, _ labels: [String: String]) -> Double {
        TestServer.sum(of: "needletail_feedback_\(name)", labels.merging(["model": "people"]) { $1 }, in: text)
      }
      #expect(value("accuracy", ["role": "assigned", "version": "1"]) == 0.5)
      #expect(value("rows", [:]) == 2)
      #expect(value("group_accuracy", ["feature": "colour", "group": "green"]) == 1)
      #expect(value("group_accuracy", ["feature": "colour", "group": "red"]) == 0)
      #expect(value("expected", [:]) == 0.9)
      #expect(value("outcomes_total", ["result": "contradictory"]) == 1)
      let status = test.server.status
      #expect(status.feedback.map(\.sentence) == ["2 outcomes: accuracy 0.5, expected 0.9"])
      #expect(status.feedback[0].isWorse == nil, "two are too few to say")
      await client.close()
    }
  }

  @Test func theRoutingKeyNamesACallThatHasNoName() async throws {
    try await Self.with { test in
      let client = try await test.client()
      _ = try await client.predict("line", inputs: [.features([1, 2], columns: 2)], routingKey: "user-7")
      _ = try await client.predict("line", inputs: [.features([1, 2], columns: 2)], routingKey: "user-8", key: "x")
      // 2 · 1 − 3 · 2 + 1
      let report = try await client.feedback(
        "line", outcomes: ["user-7", "user-8", "x"].map { .init(key: $0, truth: .value(-3)) })
      #expect(report.joined == 2 && report.unknown == 1)
      await client.close()
    }
  }

  @Test func outcomesComeInAsJSONAndFindRequestsByTheirID() async throws {
    try await Self.with { test in
      let port = try #require(test.server.httpAddress).port
      try await BlockingPeer.run {
        let peer = try HTTPPeer(port: port)
        let infer =
          #"{"id":"req\u002d1","inputs":[{"name":"features","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#
        #expect(try peer.post("/v2/models/line/infer", infer).status == 200)
        let answer = try peer.post(
          "/v2/models/line/feedback",
          #"{"outcomes":[{"key":"req-1","value":-3},{"key":"req-2","row":1,"value":1e999,"more":[1]}]}"#)
        #expect(answer.status == 200, "\(answer.json)")
        #expect(answer.json["joined"] as? Int == 1)
        #expect(answer.json["unknown"] as? Int == 1)
        let problems = try #require(answer.json["problems"] as? [[String: Any]])
        #expect(problems.map { $0["result"] as? String } == ["unknown"])
        #expect(try peer.get("/v2/models/line/feedback").status == 405)
        for (body, part) in [
          ("", "body: expected an object"), ("{}", "outcomes: expected at least one, found none"),
          (#"{"outcomes":[]}"#, "outcomes: expected at least one, found none"),
          (#"{"outcomes":[{"value":1}]}"#, "outcomes[0]: key: expected 1 to 256 bytes, found 0"),
          (#"{"outcomes":[{"key":"a"}]}"#, "outcomes[0]: expected a label or a value, found neither"),
          (#"{"outcomes":[{"key":"a","label":"b","value":1}]}"#, "expected a label or a value, found both"),
          (#"{"outcomes":[{"key":"a","row":4294967296,"value":1}]}"#, "row: expected a number below 2³²"),
          (#"{"outcomes":[{"key":"\ud800","label":"b"}]}"#, "expected a string of valid escapes"),
          (#"{"outcomes":[{"key":"a","value":NaN}]}"#, "expected a number for value"),
          (#"{"outcomes":[{"key":"a","row":-1,"value":1}]}"#, "expected a row from 0"),
          (#"{"outcomes":[{"key":"a","value":1}]} x"#, "expected nothing behind the object"),
        ] {
          let answer = try peer.post("/v2/models/line/feedback", body)
          #expect(answer.status == 400, "\(body)")
          #expect((answer.text("error") ?? "").contains(part), "\(body): \(answer.text("error") ?? "")")
        }
        let many = (0...Limits.feedbackOutcomesMax).map { #"{"key":"\#($0)","value":1}"# }.joined(separator: ",")
        #expect(try peer.post("/v2/models/line/feedback", "{\"outcomes\":[\(many)]}").status == 400)
        let long = String(repeating: " ", count: Limits.feedbackBytesMax) + "{}"
        let tooLong = try peer.post("/v2/models/line/feedback", long)
        #expect(tooLong.status == 400 && (tooLong.text("error") ?? "").contains("feedback: expected at most"))
        #expect(try peer.post("/v2/models/lime/feedback", #"{"outcomes":[{"key":"a","value":1}]}"#).status == 404)
        #expect(try peer.post("/v2/models/digits/feedback", #"{"outcomes":[{"key":"a","value":1}]}"#).status == 501)
      }
    }
  }

  @Test func callsThatCannotBeTakenSaySo() async throws {
    try await Self.with { test in
      let client = try await test.client()
      func message(_ model: String, _ outcomes: [ReportedOutcome]) async -> String {
        do throws(ClientError) {
          _ = try await client.feedback(model, outcomes: outcomes)
          return ""
        } catch {
          return "\(error)"
        }
      }
      let one = ReportedOutcome(key: "a", truth: .value(1))
      let long = ReportedOutcome(key: String(repeating: "k", count: 257), truth: .value(1))
      let many = [ReportedOutcome](repeating: one, count: Limits.feedbackOutcomesMax + 1)
      for (model, outcomes, start) in [
        ("", [one], "INVALID_ARGUMENT: model: expected a name, found none"),
        ("lime", [one], "NOT_FOUND: model \"lime\": not found, did you mean \"line\"?"),
        ("digits", [one], "UNIMPLEMENTED: feedback: expected a model that feedback.rules"),
        ("line", [], "INVALID_ARGUMENT: outcomes: expected at least one, found none"),
        ("line", many, "INVALID_ARGUMENT: outcomes: expected at most 1024 in one call, found 1025"),
        ("line", [long], "INVALID_ARGUMENT: outcomes[0]: key: expected 1 to 256 bytes, found 257"),
      ] {
        let found = await message(model, outcomes)
        #expect(found.hasPrefix(start), "\(found)")
      }
      await client.close()
    }
    try await TestServer.with(models: PredictTests.models) { test in
      let client = try await test.client()
      await #expect(throws: ClientError.self) {
        try await client.feedback("line", outcomes: [.init(key: "a", truth: .value(1))])
      }
      let info = try await client.serverInfo()
      #expect(!info.features.contains("feedback"))
      await client.close()
    }
  }

  @Test func feedbackIsAPermissionOfItsOwn() async throws {
    let (reader, reporter) = (APIKey(), APIKey())
    let file = try KeyFileFixture(
      "keys:\n" + KeyFileFixture.entry("reader", reader)
        + KeyFileFixture.entry("reporter", reporter, "models: [people], calls: [feedback]"))
    try await Self.with(configure: { $0.apiKeys = file.path }) { test in
      func code(_ key: APIKey, _ model: String) async throws -> StatusCode {
        var configuration = NeedletailClient.Configuration()
        configuration.apiKey = key.text
        let client = try await NeedletailClient.connect(to: test.address, configuration: configuration)
        defer { Task { await client.close() } }
        do throws(ClientError) {
          _ = try await client.feedback(model, outcomes: [.init(key: "a", truth: .label("yes"))])
          return .ok
        } catch {
          return error.code
        }
      }
      let codes = [
        try await code(reader, "people"), try await code(reporter, "people"), try await code(reporter, "line"),
      ]
      #expect(codes == [.permissionDenied, .ok, .permissionDenied], "a key must name the call, and be about the model")
    }
  }

  @Test(arguments: ["models: {a: {rate: 2}}", "model: {}"])
  func rulesThatCannotBeUsedKeepItFromStarting(rules: String) async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(Array(rules.utf8), to: "feedback.yaml")
    let error = await #expect(throws: ConfigurationError.self) {
      _ = try await TestServer(models: [:]) { $0.feedbackRules = path }
    }
    #expect(error?.message.hasPrefix("--feedback-rules: ") == true, "\(String(describing: error))")
  }

  @Test func groupsThatAModelDoesNotHaveAreSaidAndDoNotStopIt() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(Array("models: {line: {groups: {colour: categories}}}".utf8), to: "feedback.yaml")
    try await TestServer.with(models: PredictTests.models, configure: { $0.feedbackRules = path }) { test in
      let client = try await test.client()
      _ = try await client.predict("line", inputs: [.features([1, 2], columns: 2)], key: "a")
      #expect(try await client.feedback("line", outcomes: [.init(key: "a", truth: .value(1))]).joined == 1)
      while true {
        let events = try await client.events().events
        if events.contains(where: { $0.message.contains("groups: expected features of the model, found \"colour\"") }) {
          break
        }
        await Task.yield()
      }
      await client.close()
    }
  }
}
