import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// A version is published only if captured calls are answered as before.
@Suite struct ReplayGateTests {
  private let directory: TemporaryDirectory
  private var store: String { directory.file("store") }
  private let capture: String

  init() throws {
    directory = try TemporaryDirectory()
    capture = directory.file("capture.ntcap")
    // 2 x0 − 3 x1 + 0.5 x2 + 1, exact in every order of summing.
    let calls = (0..<20).map { id in
      CaptureSegments.call(
        UInt64(id), to: "line", version: 1, features: [Float(id), 1, 2], prediction: Float(2 * id - 1))
    }
    try directory.write(CaptureSegments.bytes(of: [calls]), to: "capture.ntcap")
  }

  private func condition(_ shareMax: Double = 0, tolerance: Double = 0) throws -> ReplayCondition {
    try ReplayCondition(capture: capture, shareMax: shareMax, tolerance: tolerance)
  }

  private func bundle(_ definition: ModelDefinition) throws -> String {
    let contents = BundleContents(definition: definition)
    return try directory.write(
      contents.encode(model: ModelID("line"), version: .first, expiresDays: nil, signing: []), to: "model.ntb")
  }

  private func publish(_ definition: ModelDefinition, _ condition: ReplayCondition?) throws -> Publishing.Publication {
    try Publishing.republish(
      path: bundle(definition), store: store, key: nil, version: nil, replay: condition,
      notice: { Issue.record("\($0)") })
  }

  private func refusal(_ definition: ModelDefinition, _ condition: ReplayCondition) -> String {
    do {
      _ = try publish(definition, condition)
      return ""
    } catch {
      #expect((error as? TrainingError)?.kind == .refused)
      return "\(error)"
    }
  }

  @Test func theFirstVersionIsComparedWithWhatWasCaptured() throws {
    let wrong = refusal(ModelFixtures.linearRegression(bias: 2), try condition())
    #expect(
      wrong.hasPrefix("not published: expected at most 0 % of the calls to differ, found 20 of 20 captured calls"))
    #expect(wrong.contains("otherwise than by the captured answers, numbers by 1 at most"))
    #expect(wrong.contains("id 0: prediction: expected -1.0, found 0.0"), "\(wrong)")
    let first = try publish(ModelFixtures.linearRegression(), condition())
    #expect(first.version.number == 1)
    #expect(first.replay?.document["different"].integer == 0 && first.replay?.document["compared"].integer == 20)
  }

  @Test func otherVersionsAreComparedWithTheOneThatServes() throws {
    // All answers differ from the captured ones now.
    _ = try publish(ModelFixtures.linearRegression(bias: 2), nil)
    #expect(try publish(ModelFixtures.linearRegression(bias: 2), condition()).version.number == 2)
    let wrong = refusal(ModelFixtures.linearRegression(), try condition())
    #expect(wrong.contains("otherwise than by version 2, which serves"), "\(wrong)")
    #expect(try publish(ModelFixtures.linearRegression(), condition(tolerance: 1)).version.number == 3)
    // Another weight of x0, which is 0 in one call: 19 of 20 differ.
    let other = ModelFixtures.linearRegression(weights: [2.5, -3, 0.5])
    #expect(refusal(other, try condition(0.94)).contains("found 19 of 20 captured calls (95.00 %)"))
    #expect(try publish(other, condition(0.95)).version.number == 4)
    // Off by half of x0, 0 to 19: one call is off by more than 9.
    #expect(refusal(ModelFixtures.linearRegression(), try condition(0.04, tolerance: 9)).contains("found 1 of 20"))
    #expect(try publish(ModelFixtures.linearRegression(), condition(0.05, tolerance: 9)).version.number == 5)
  }

  @Test func aCaptureThatSaysNothingIsAMistakeAndNoConsent() throws {
    func fault(_ make: () throws -> Void) -> String {
      do {
        try make()
        return ""
      } catch {
        #expect((error as? TrainingError)?.kind == .output)
        return "\(error)"
      }
    }
    let missing = directory.file("none")
    #expect(fault { _ = try ReplayCondition(capture: missing, shareMax: 0, tolerance: 0) }.contains(missing))
    #expect(fault { _ = try condition(1.5) } == "--replay-allow: expected a share from 0 to 1, found 1.5")
    #expect(fault { _ = try condition(.nan) }.hasPrefix("--replay-allow"))
    #expect(fault { _ = try condition(tolerance: -1) }.hasPrefix("--replay-tolerance"))
    let other = CaptureSegments.call(1, to: "other", version: 1, features: [1], prediction: 1)
    try directory.write(CaptureSegments.bytes(of: [[other]]), to: "capture.ntcap")
    #expect(
      fault { _ = try publish(ModelFixtures.linearRegression(), condition()) }
        == "--replay: expected captured calls of line that can be asked again in \(capture), found none")
  }
}
