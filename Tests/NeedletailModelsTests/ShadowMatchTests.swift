import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailModels

@Suite("Which versions can shadow which")
struct ShadowMatchTests {
  private func numeric(_ name: String, _ missing: Feature.MissingPolicy = .refuse) -> Feature {
    Feature(name: name, kind: .numeric, missing: missing)
  }

  private func reason(_ answering: [Feature], _ shadow: [Feature]) -> String? {
    do throws(ShadowMismatch) {
      _ = try ShadowMatch(answering, shadow: shadow)
      return nil
    } catch {
      return error.reason
    }
  }

  @Test func equalFeaturesAreCopiedWithoutReordering() throws {
    let features = [numeric("a"), numeric("b", .impute)]
    #expect(try ShadowMatch(features, shadow: features).isIdentity)
  }

  @Test func aShadowsRowIsAssembledByName() throws {
    let match = try ShadowMatch([numeric("a"), numeric("b"), numeric("c")], shadow: [numeric("c"), numeric("a")])
    var rows: [Float] = [1, 2, 3, 4, 5, 6]
    var bound = [Float](repeating: 0, count: 4)
    match.bind(&rows, rows: 2, into: &bound)
    #expect(bound == [3, 1, 6, 4])
  }

  @Test func textsMoveToTheirPlaceAndTheirBytesStay() throws {
    func text(_ name: String) -> Feature { Feature(name: name, kind: .text, missing: .impute) }
    let match = try ShadowMatch(
      [text("a"), numeric("b"), text("c"), text("d")], shadow: [text("d"), numeric("b"), text("a")])
    // A place is two words: address and length. These stand for themselves.
    var (rows, places): ([Float], [UInt64]) = ([1, 2, 3, 4, 5, 6, 7, 8], Array(10..<22))
    var (bound, found) = ([Float](repeating: 0, count: 6), [UInt64](repeating: 0, count: 8))
    rows.withUnsafeMutableBytes { rows in
      places.withUnsafeMutableBytes { places in
        bound.withUnsafeMutableBytes { bound in
          found.withUnsafeMutableBytes { found in
            let source = RowMemory(items: rows.baseAddress!, texts: places.baseAddress!, bytes: rows.baseAddress!)
            let target = RowMemory(items: bound.baseAddress!, texts: found.baseAddress!, bytes: bound.baseAddress!)
            match.bind(source, rows: 2, into: target)
          }
        }
      }
    }
    #expect(bound == [4, 2, 1, 8, 6, 5])
    #expect(found == [14, 15, 10, 11, 20, 21, 16, 17])
  }

  @Test func theFirstFeaturesAloneAreNotTheSameRow() throws {
    let match = try ShadowMatch([numeric("a"), numeric("b")], shadow: [numeric("a")])
    var rows: [Float] = [1, 2, 3, 4]
    var bound = [Float](repeating: 0, count: 2)
    match.bind(&rows, rows: 2, into: &bound)
    #expect(bound == [1, 3])
  }

  @Test func featuresThatCallsLackAreNamed() {
    #expect(
      reason([numeric("a")], [numeric("a"), numeric("z")])
        == "feature \"z\": expected in the calls answered, found none")
    let (few, many) = (["red"], ["red", "green"])
    func colour(_ categories: [String]) -> Feature {
      Feature(name: "c", kind: .categorical(categories: categories, unknown: .zeros), missing: .refuse)
    }
    let other = "feature \"c\": expected the same type and categories, found others"
    #expect(reason([colour(few)], [colour(many)]) == other)
    #expect(reason([numeric("c")], [colour(few)]) == other)
    #expect(reason([colour(few)], [colour(few)]) == nil)
  }

  @Test func onlyAShadowThatDoesWithoutValuesTakesRowsThatLackThem() {
    #expect(
      reason([numeric("a", .impute)], [numeric("a", .refuse)])
        == "feature \"a\": expected never to be missing, found a version that answers without it")
    #expect(reason([numeric("a", .refuse)], [numeric("a", .impute)]) == nil)
  }

  @Test func versionsWithoutACommonOutputCannotBeCompared() throws {
    let line = try CompiledModel(ModelFixtures.linearRegression(weights: [1, 1]))
    let classes = try CompiledModel(ModelFixtures.mlp(widths: [2, 3]))
    let more = try CompiledModel(ModelFixtures.mlp(widths: [2, 4]))
    do throws(ShadowMismatch) {
      _ = try ShadowMatch(line, shadow: classes)
      Issue.record("a class is no number")
    } catch {
      #expect(error.reason.hasPrefix("outputs: expected one in common, found only \"probabilities\""))
    }
    _ = try ShadowMatch(classes, shadow: more)
  }
}
