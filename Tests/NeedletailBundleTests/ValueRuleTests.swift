import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Bundles of format 1.2")
struct ValueRuleTests {
  private func contents(unknown: Feature.UnknownPolicy, rules: ValueRules? = ValueRules()) -> BundleContents {
    var contents = BundleFixtures.contents()
    contents.definition.schema.rules = rules
    contents.definition.schema.features = contents.definition.schema.features.map { feature in
      guard case .categorical(let categories, _) = feature.kind else { return feature }
      var feature = feature
      feature.kind = .categorical(categories: categories, unknown: unknown)
      return feature
    }
    return contents
  }

  @Test(arguments: [ValueRules(), ValueRules(missing: []), ValueRules(missing: ["-999"])])
  func rulesForTextComeBackEqual(rules: ValueRules) throws {
    let contents = contents(unknown: .refuse, rules: rules)
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 2, 0], "major and minor")
  }

  @Test func onlySchemasThatAcceptUnknownCategoriesNeedANewReader() throws {
    // A reader of format 1.1 refuses what the rules alone can read, unless it may take it for an unknown category.
    let strict = try BundleFixtures.bundle(contents(unknown: .refuse))
    #expect(Array(strict[16..<24]).allSatisfy { $0 == 0 }, "required features")
    let lenient = try BundleFixtures.bundle(contents(unknown: .zeros))
    #expect(Array(lenient[16..<24]) == [2, 0, 0, 0, 0, 0, 0, 0], "required features")
    let older = try BundleFixtures.bundle(contents(unknown: .zeros, rules: nil))
    #expect(Array(older[8..<12]) == [1, 0, 0, 0] && Array(older[16..<24]).allSatisfy { $0 == 0 })
  }

  @Test func rulesBesideUnknownCategoriesWithoutTheirBitAreRefused() throws {
    var assembly = try assembly(contents(unknown: .other))
    assembly.requiredFeatures = 0
    let error = refusal(try assembly.encode(signing: [BundleFixtures.key]))
    #expect(error?.reason == .malformed)
    #expect(
      error?.message
        == "header: required features: expected bit 1 for value rules beside categories that may be unknown, found it unset"
    )
  }

  @Test func rulesThatContradictTheSchemaAreRefusedByReaderAndWriter() throws {
    var contents = contents(unknown: .refuse)
    contents.definition.schema.features[0].name += " "
    contents.drift = nil
    let sealed = try assembly(contents, validating: false).encode(signing: [BundleFixtures.key])
    #expect(refusal(sealed)?.reason == .invalidGraph)
    #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
    contents.definition.schema.rules = nil
    #expect(try read(BundleFixtures.bundle(contents)) == contents)
  }

  @Test func goldenSamplesTellTheNumericsThatAnsweredThem() throws {
    var contents = BundleFixtures.contents()
    #expect(try BundleFixtures.bundle(contents)[10] == 0)
    contents.golden[0].numerics = 7
    let bytes = try BundleFixtures.bundle(contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 2, 0] && Array(bytes[16..<24]).allSatisfy { $0 == 0 })
    #expect(try read(bytes).golden[0].numerics == 7)
  }
}
