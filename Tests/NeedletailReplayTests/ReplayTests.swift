import NeedletailCapture
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailReplay

/// Captured calls asked again, and what is said of the answers.
@Suite("Replay")
struct ReplayTests {
  private func call(_ id: UInt64, _ features: [Float], _ prediction: Float) -> CapturedCall {
    CaptureSegments.call(id, to: "line", version: 3, features: features, prediction: prediction)
  }

  private func answer(_ numbers: [Float]) -> ReplayAnswer {
    var answer = ReplayAnswer(.ok)
    answer.outputs["prediction"] = .floats(numbers)
    return answer
  }

  private func compare(_ expected: ReplayAnswer, _ asked: ReplayAnswer, tolerance: Double = 0) -> ReplayReport {
    var report = ReplayReport(model: "a", against: "b", tolerance: tolerance, showMax: 1)
    report.add(ReplayPair(call: call(1, [1], 1), asked: asked, expected: expected))
    return report
  }

  @Test func aModelAnswersItsCallsWithTheirBits() throws {
    // 2 · 1 − 3 · 2 + 0.5 · 4 + 1 = −1, and 2 · 3 − 3 · 0.5 + 0.5 · 0 + 1 = 5.5: exact in every order of summing.
    let model = try ReplayedModel(CompiledModel(ModelFixtures.linearRegression()))
    var report = ReplayReport(model: "line", against: "capture", showMax: 5)
    for call in [call(1, [1, 2, 4], -1), call(2, [3, 0.5, 0], 5.5)] {
      report.add(ReplayPair(call: call, asked: model.answer(call), expected: ReplayAnswer(call)))
    }
    #expect(report.compared == 2 && report.same == 2 && report.rows == 2 && report.allows(0))
    let wrong = call(3, [3, 0.5, 0], Float(5.5).nextUp)
    report.add(ReplayPair(call: wrong, asked: model.answer(wrong), expected: ReplayAnswer(wrong)))
    #expect(report.different == 1 && report.maxDifference == Double(Float(5.5).nextUp) - 5.5)
    #expect(report.first.first?.id == 3 && report.first.first?.place == "prediction")
    #expect(report.first.first?.time == "2023-11-14T22:13:20.000003Z")
    #expect(!report.allows(0.33) && report.allows(0.34))
  }

  @Test func aCallThatTheModelRefusesIsADifference() throws {
    let model = try ReplayedModel(CompiledModel(ModelFixtures.linearRegression()))
    var other = call(1, [1, 2, 4], -1)
    other.inputs[0].name = Array("other".utf8)
    let asked = model.answer(other)
    #expect(asked.status == .invalidArgument && asked.message.contains("other"))
    #expect(compare(ReplayAnswer(other), asked).first.first?.place == "status")
  }

  @Test func aToleranceIsOfNumbersOnly() {
    #expect(compare(answer([1]), answer([1.5])).different == 1)
    #expect(compare(answer([1]), answer([1.5]), tolerance: 0.5).different == 0)
    #expect(compare(answer([1]), answer([1.5]), tolerance: 0.4).different == 1)
    #expect(compare(answer([1]), answer([.infinity]), tolerance: 1e9).different == 1)
    #expect(compare(answer([1]), answer([.nan]), tolerance: 1e9).different == 1)
    let other = Float(bitPattern: Float.nan.bitPattern | 1)
    #expect(compare(answer([.nan]), answer([other]), tolerance: 1e-9).different == 0)
    #expect(compare(answer([.nan]), answer([other])).different == 1, "without one, every bit counts")
    #expect(compare(answer([0]), answer([-0.0])).different == 1)
    #expect(compare(answer([1, 2]), answer([1]), tolerance: 1e9).different == 1, "other shapes")
    var (yes, no) = (ReplayAnswer(.ok), ReplayAnswer(.ok))
    (yes.outputs["label"], no.outputs["label"]) = (.strings(["yes", "yes"]), .strings(["yes", "no"]))
    let labels = compare(yes, no, tolerance: 1e9)
    #expect(labels.different == 1 && labels.classChanges == 1)
    (yes.outputs["label"], no.outputs["label"]) = (.integers([1]), .strings(["yes"]))
    #expect(compare(yes, no, tolerance: 1e9).different == 1)
    no.outputs["label"] = nil
    #expect(compare(yes, no, tolerance: 1e9).first.first?.found == "the other")
  }

  @Test func whatCannotBeAskedAgainIsLeftOutAndCounted() {
    var report = ReplayReport(model: "a", against: "b", showMax: 1)
    var redacted = call(1, [1], 1)
    redacted.model.redacted = [.init(feature: "x0", redaction: .drop)]
    #expect(report.leavesOut(redacted) && report.redacted == 1)
    var busy = call(2, [1], 1)
    busy.status = .overloaded
    #expect(report.leavesOut(busy) && report.momentary == 1)
    var wrong = call(3, [1], 1)
    wrong.status = .invalidArgument
    #expect(!report.leavesOut(wrong) && !report.leavesOut(call(4, [1], 1)), "an error of the request comes again")
  }

  @Test func callsComeInTheirOrderAndOnlyThoseAskedFor() throws {
    let directory = try TemporaryDirectory()
    func write(_ ids: ClosedRange<UInt64>, _ model: String, version: UInt64, _ name: String) throws {
      let calls = ids.map {
        CaptureSegments.call($0, to: model, version: version, features: [Float($0)], prediction: 0)
      }
      try directory.write(CaptureSegments.bytes(of: [calls]), to: "\(name).ntcap")
    }
    try write(1...100, "line", version: 1, "1")
    try write(101...110, "other", version: 2, "2")
    try write(111...300, "line", version: 2, "3")
    func ids(_ model: String?, version: UInt64? = nil) throws -> [UInt64] {
      let reader = CaptureBatches(
        CaptureQuery(capture: directory.path, model: model, version: version, notice: { Issue.record("\($0)") }),
        size: 64)
      var ids: [UInt64] = []
      while let calls = try reader.next() {
        #expect(calls.count <= 64)
        ids += calls.map(\.id)
      }
      #expect(reader.isWhole)
      return ids
    }
    #expect(try ids(nil) == Array(1...300))
    #expect(try ids("line") == Array(1...100) + Array(111...300))
    #expect(try ids("line", version: 2) == Array(111...300))
    #expect(try ids("none").isEmpty)
  }

  @Test func damagedPartsAreSaidAndTheRestIsRead() throws {
    let directory = try TemporaryDirectory()
    let blocks = (0..<3).map { block in
      (0..<10).map { call(UInt64(10 * block + $0), [1], 1) }
    }
    var bytes = try CaptureSegments.bytes(of: blocks)
    let first = try CaptureSegments.bytes(of: [blocks[0]], isEnded: false).count
    bytes[first + 60] ^= 1
    try directory.write(bytes, to: "1.ntcap")
    var notices: [String] = []
    let reader = CaptureBatches(CaptureQuery(capture: directory.path, notice: { notices.append($0) }), size: 100)
    var count = 0
    while let calls = try reader.next() { count += calls.count }
    #expect(count == 20 && !reader.isWhole && notices.count == 1, "\(notices)")
    #expect(throws: CaptureError.self) { try CaptureQuery(capture: directory.path + "/no", notice: { _ in }).files() }
    let empty = try TemporaryDirectory()
    #expect(throws: CaptureError.self) { try CaptureQuery(capture: empty.path, notice: { _ in }).files() }
  }
}
