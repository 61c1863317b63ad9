import Foundation
import NeedletailCapture
import NeedletailClient
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailServer

/// A server captures what its clients ask and what they are answered, as its configuration says.
@Suite("Capturing at a server", .timeLimit(.minutes(10)))
struct CaptureServerTests {
  @Test func whatClientsAskAndGetIsCaptured() async throws {
    let directory = try TemporaryDirectory()
    let rules = try directory.write(
      Array("models: {people: {rate: 1, redact: {colour: hash}}}\n".utf8), to: "rules.yaml")
    var answers: [UInt64: [Float]] = [:]
    try await TestServer.with(models: PredictTests.models) { configuration in
      var options = CaptureOptions(rules: rules, directory: directory.file("capture"))
      options.key = try? directory.write(Array("0123456789abcdef".utf8), to: "key")
      configuration.capture = options
    } _: { test in
      let client = try await test.client()
      for age in 1...50 {
        let answer = try await client.predict(
          "people",
          inputs: [.column("age", [Double(age)]), .column("income", [55.5]), .column("colour", ["green"])])
        answers[UInt64(age)] = answer.floats("probabilities")
      }
      // No rule is about this model.
      _ = try await client.predict("line", inputs: [.features([1, 2], columns: 2)])
      await client.close()
    }
    var calls: [CapturedCall] = []
    for file in try SegmentFile.all(at: directory.file("capture")) {
      let summary = try CaptureReader.read(file.path) { call in
        calls.append(call)
        return true
      }
      #expect(summary.isComplete && summary.faults.isEmpty && !file.isOpen)
    }
    #expect(calls.count == 50)
    for call in calls {
      #expect(call.model.name == "people")
      let columns = Dictionary(uniqueKeysWithValues: call.inputColumns.map { ($0.name, $0.values) })
      guard case .double(let age) = columns["age"]?.first else {
        Issue.record("no age")
        continue
      }
      let probabilities = call.model.outputs.firstIndex { $0.name == "probabilities" }
      #expect(call.answers.first { $0.output == probabilities }?.values == answers[UInt64(age)])
      guard case .text(let colour) = columns["colour"]?.first else {
        Issue.record("no colour")
        continue
      }
      #expect(colour.utf8.count == 32 && colour != "green")
    }
  }

  private func configuration(_ flags: [String: String]) throws -> ServerConfiguration {
    let base = ["store": "/tmp", "allow_unsigned": "true"]
    return try ServerConfiguration(
      SettingsResolver(flags: base.merging(flags) { $1 }, environment: [:], file: nil))
  }

  @Test func capturingIsOffUnlessThereAreRules() throws {
    #expect(try configuration([:]).capture == nil)
    let options = try configuration([
      "capture.rules": "r.yaml", "state_directory": "/var/lib/x", "capture.bytes_max": "4_000_000",
      "capture.segment_bytes_max": "1_048_576", "capture.seconds_max": "60",
    ]).capture
    #expect(options?.directory == "/var/lib/x/capture")
    #expect(options?.bounds.bytesMax == 4_000_000)
    #expect(options?.bounds.segmentBytesMax == 1_048_576)
    #expect(options?.bounds.secondsMax == 60)
    #expect(try configuration(["capture.rules": "r", "capture.directory": "/d"]).capture?.directory == "/d")
  }

  @Test(arguments: [
    (["capture.rules": "r"], "--capture-rules: expected --capture-directory or --state-directory beside it"),
    (["capture.directory": "d"], "--capture-directory: expected --capture-rules beside it, found none"),
    (["capture.key_file": "k"], "capture.key_file: expected --capture-rules beside it, found none"),
    (
      ["capture.rules": "r", "capture.directory": "d", "capture.bytes_max": "100_000_000"],
      "capture.segment_bytes_max: expected at most half of capture.bytes_max (100000000), found 67108864"
    ),
  ])
  func settingsThatDoNotFitAreNamed(flags: [String: String], message: String) throws {
    let error = try #require(throws: ConfigurationError.self) { try configuration(flags) }
    #expect(error.message.hasPrefix(message), "\(error)")
  }

  @Test(arguments: [
    ("models: {a: {rate: 2}}", "--capture-rules: "),
    ("models: {a: {rate: 1, redact: {x: hash}}}", "capture.key_file: "),
  ])
  func rulesThatCannotBeUsedKeepItFromStarting(rules: String, message: String) async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write(Array(rules.utf8), to: "rules.yaml")
    let error = await #expect(throws: ConfigurationError.self) {
      _ = try await TestServer(models: [:]) { configuration in
        configuration.capture = CaptureOptions(rules: path, directory: directory.file("capture"))
      }
    }
    #expect(error?.message.hasPrefix(message) == true, "\(String(describing: error))")
  }
}
