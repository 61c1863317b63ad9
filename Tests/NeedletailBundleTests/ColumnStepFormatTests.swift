import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Bundles of format 1.5")
struct ColumnStepFormatTests {
  private let contents = BundleContents(definition: BundleFixtures.columnSteps())

  @Test func stepsOnColumnsAndHashedCategoriesComeBackEqual() throws {
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 5, 0], "major and minor")
    _ = try CompiledModel(contents.definition)
  }

  @Test func aHashedCategoryAloneAsksForFormat15() throws {
    var contents = BundleFixtures.contents()
    contents.definition.schema.features[0].kind = .categorical(categories: [], unknown: .hash)
    contents.definition.schema.features[0].buckets = 4
    contents.drift = nil
    contents.golden = []
    #expect(try Array(BundleFixtures.bundle(contents)[8..<12]) == [1, 0, 5, 0], "major and minor")
  }

  @Test(arguments: [0, -1, Limits.bucketsMax + 1])
  func bucketsThatDoNotFitTheirPolicyAreRefused(buckets: Int) throws {
    var contents = contents
    contents.definition.schema.features[1].buckets = buckets
    #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
    contents.definition.schema.features[1] = Feature(
      name: "colour", kind: .categorical(categories: ["red"], unknown: .zeros), missing: .impute, buckets: 3)
    #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
  }
}
