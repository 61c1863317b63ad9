import NeedletailTestSupport
import NeedletailYAML
import Testing

@testable import NeedletailCapture

@Suite("Rules of capturing")
struct CaptureRulesTests {
  @Test func rulesAreReadByModel() throws {
    let rules = try CaptureRules(
      yaml: """
        models:
          churn:
            rate: 0.01
            errors: true
            confidence_below: 0.6
            slow_milliseconds: 2.5
            redact: {name: drop, email: hash}
          "*": {rate: 1}
        """, file: "capture.yaml")
    #expect(
      rules["churn"]
        == CaptureRule(
          rate: 0.01, errors: true, confidenceBelow: 0.6, slowMicroseconds: 2500,
          redacted: [.init(feature: "name", redaction: .drop), .init(feature: "email", redaction: .hash)]))
    #expect(rules["wine"] == CaptureRule(rate: 1))
    #expect(rules.needsKey)
    #expect(rules.isOwn("churn") && !rules.isOwn("wine"))
    #expect(try CaptureRules(yaml: "models: {a: {errors: true}}", file: "f")["b"] == nil)
  }

  @Test(arguments: [
    ("models: {a: {rat: 1}}", "did you mean \"rate\"?"),
    ("model: {a: {rate: 1}}", "did you mean \"models\"?"),
    ("models: {a: {rate: 1.5}}", "expected a number from 0 to 1, found \"1.5\""),
    ("models: {a: {rate: some}}", "expected a number from 0 to 1, found \"some\""),
    ("models: {a: {errors: maybe}}", "expected true or false, found \"maybe\""),
    ("models: {a: {rate: 1, redact: {x: hide}}}", "expected one of drop, hash, found \"hide\""),
    ("models: {a: {redact: {x: drop}}}", "expected rate, errors, confidence_below or slow_milliseconds, found none"),
    ("models: {a: {rate: 0}}", "expected rate, errors, confidence_below or slow_milliseconds, found none"),
    ("models: {}", "expected at least one model, found none"),
    ("", "expected models, found none"),
  ])
  func mistakesAreNamed(yaml: String, message: String) throws {
    let error = try #require(throws: YAMLError.self) { try CaptureRules(yaml: yaml, file: "capture.yaml") }
    #expect(error.description.contains(message), "\(error)")
    #expect(error.description.hasPrefix("capture.yaml"))
  }

  @Test func keysHaveALength() throws {
    let directory = try TemporaryDirectory()
    let key = try directory.write(Array("0123456789abcdef\n".utf8), to: "key")
    #expect(try CaptureKey.read(path: key) == Array("0123456789abcdef".utf8))
    let short = try directory.write(Array("0123456789abcde\n".utf8), to: "short")
    let error = try #require(throws: CaptureError.self) { try CaptureKey.read(path: short) }
    #expect(error.message.hasSuffix("expected a key of 16 to 4096 bytes, found 15"))
    #expect(throws: CaptureError.self) { try CaptureKey.read(path: directory.file("none")) }
  }
}
