import NeedletailCore
import NeedletailMetrics
import NeedletailModels
import Testing

@Suite("Model table")
struct ModelTableTests {
  private func table() throws -> ModelTable {
    ModelTable([
      .init(
        model: try ModelID("wine"), live: [try LiveModelFixtures.model("wine", 7)], serving: ModelVersion(7)),
      .init(
        model: try ModelID("digits"),
        live: [try LiveModelFixtures.model("digits", 3), try LiveModelFixtures.model("digits", 2)],
        serving: ModelVersion(3)),
      .init(model: try ModelID("coming"), live: [], serving: nil, awaited: [ModelVersion(1)!]),
      .init(model: try ModelID("refused"), live: [], serving: nil),
      .init(model: try ModelID("gone"), live: [], serving: nil, isRetired: true),
      .init(
        model: try ModelID("growing"), live: [try LiveModelFixtures.model("growing", 1)], serving: ModelVersion(1),
        awaited: [ModelVersion(2)!]),
    ])
  }

  private func error(_ name: String, _ selector: ModelSelector = .serving) throws -> ServingError? {
    let table = try table()
    do throws(ServingError) {
      _ = try table.model(named: name, selector: selector)
      return nil
    } catch {
      return error
    }
  }

  @Test func findsTheServingVersionAndEveryLiveOne() throws {
    let table = try table()
    #expect(try table.model(named: "digits").version.number == 3)
    #expect(try table.model(named: "digits", selector: .version(2)).version.number == 2)
    #expect(try table.model(named: "wine", selector: .version(7)).model.name == "wine")
    #expect(table.entries.map(\.model.name) == ["coming", "digits", "gone", "growing", "refused", "wine"])
  }

  @Test(arguments: [
    ("digts", "model \"digts\": not found, did you mean \"digits\"?"),
    ("Digits", "model \"Digits\": not found, did you mean \"digits\"?"),
    ("something", "model \"something\": not found"),
    ("a\nb", "model \"a\\nb\": not found"),
  ])
  func namesUnknownModelsAndTheNearestKnownOne(name: String, message: String) throws {
    #expect(try error(name) == .notFound(message))
  }

  @Test func asksForANameWhereThereIsNone() throws {
    #expect(try error("") == .invalidArgument("model: expected a name, found none"))
  }

  @Test func saysWhichVersionsAreLive() throws {
    #expect(
      try error("digits", .version(9)) == .notFound("model \"digits\": version 9 not live, live are 3, 2"))
    #expect(try error("wine", .version(0)) == .notFound("model \"wine\": version 0 not live, live is 7"))
  }

  /// A client that is told NOT_FOUND never tries again. So this is said of what the store does not hold or will not serve.
  @Test func aModelOfTheStoreThatCannotAnswerNowIsUnavailable() throws {
    #expect(try error("coming") == .unavailable("model \"coming\": no version is live yet, 1 is being loaded"))
    #expect(
      try error("coming", .version(1))
        == .unavailable("model \"coming\": version 1 not live yet, it is being loaded"))
    #expect(
      try error("growing", .version(2))
        == .unavailable("model \"growing\": version 2 not live yet, it is being loaded"))
    #expect(
      try error("growing", .version(3)) == .notFound("model \"growing\": version 3 not live, live is 1"))
    for selector in [.serving, .version(1)] as [ModelSelector] {
      #expect(try error("refused", selector) == .unavailable("model \"refused\": no version is live"))
      #expect(try error("gone", selector) == .notFound("model \"gone\": retired, it serves no version"))
    }
    let label: [UInt8] = Array("canary".utf8)
    let found = try label.withUnsafeBytes { bytes in try error("refused", .label(bytes)) }
    #expect(found == .unavailable("model \"refused\": no version is live"))
  }

  @Test func anUndefinedLabelIsNamed() throws {
    let label: [UInt8] = Array("canary".utf8)
    let found = try label.withUnsafeBytes { bytes in try error("wine", .label(bytes)) }
    #expect(found == .notFound("model \"wine\": label \"canary\" not defined"))
  }

  @Test func longNamesAreCutInMessages() throws {
    let message = try #require(try error(String(repeating: "x", count: 1 << 20))).message
    #expect(message.utf8.count < 100)
  }

  @Test func findsEachOfManyNamesAndNoOther() throws {
    let names = (0..<300).map { "model-\($0 * 7919 % 307)" }
    let table = ModelTable(
      try names.map { name in
        ModelTable.Entry(
          model: try ModelID(name), live: [try LiveModelFixtures.model(name, 1)], serving: ModelVersion(1))
      })
    for name in names { #expect(try table.model(named: name).model.name == name) }
    #expect(throws: ServingError.self) { try table.model(named: "model-307") }
    #expect(throws: ServingError.self) { try table.model(named: "model-") }
  }
}
