import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// Metrics count what callers are answered, class by class.
@Suite("Counters of classes", .timeLimit(.minutes(1))) struct ClassCounterTests {
  /// On a loop and on a worker, in one run and in several; what callers were told is what is counted.
  @Test(arguments: [60.0, 0]) func rowsCountByTheirClass(inlineSeconds: Double) async throws {
    var random = SplitMix64(seed: 8)
    try await TestServer.with(
      models: ["digits": PredictTests.models["digits"]!],
      configure: { $0.serving.inlineCost = .seconds(inlineSeconds) }
    ) { test in
      let client = try await test.client()
      var expected: [String: Double] = [:]
      for rows in [1, 7, 600] {
        let features = (0..<rows * 8).map { _ in random.nextFloat() * 4 - 2 }
        let answer = try await client.predict("digits", inputs: [.features(features, columns: 8)])
        for label in try #require(answer.strings("label")) { expected[label, default: 0] += 1 }
        // What a caller leaves out counts too.
        _ = try await client.predict(
          "digits", inputs: [.features(features, columns: 8)], outputs: ["probabilities"])
      }
      for label in (0..<5).map({ "c\($0)" }) {
        #expect(
          try await test.metric("needletail_answers_total", ["model": "digits", "version": "1", "class": label])
            == 2 * expected[label, default: 0])
      }
      await client.close()
    }
  }

  @Test func classesBeyondTheBoundShareOne() async throws {
    let count = Limits.countedClassesMax + 20
    try await TestServer.with(models: ["wide": ModelFixtures.mlp(widths: [4, 8, count], precision: .float32)]) { test in
      let client = try await test.client()
      var random = SplitMix64(seed: 9)
      let features = (0..<4000).map { _ in random.nextFloat() * 20 - 10 }
      let labels = try #require(
        try await client.predict("wide", inputs: [.features(features, columns: 4)]).strings("label"))
      let beyond = Set((Limits.countedClassesMax..<count).map { "c\($0)" })
      #expect(
        try await test.metric("needletail_answers_total", ["class": "(other classes)"])
          == Double(labels.count { beyond.contains($0) }))
      #expect(try await test.metric("needletail_answers_total") == 1000)
      await client.close()
    }
  }

  @Test func entitiesCountByTheirKind() async throws {
    try await TestServer.with(models: ["people": PlaceFixtures.entities()]) { test in
      let client = try await test.client()
      let answer = try await client.predict("people", inputs: [.column("text", PlaceFixtures.texts)])
      let labels = try #require(answer.strings("entity_label")).filter { !$0.isEmpty }
      #expect(labels.contains("SPEED"))
      #expect(
        try await test.metric("needletail_answers_total", ["class": "SPEED"])
          == Double(labels.count { $0 == "SPEED" }))
      #expect(try await test.metric("needletail_answers_total") == Double(labels.count))
      await client.close()
    }
  }
}
