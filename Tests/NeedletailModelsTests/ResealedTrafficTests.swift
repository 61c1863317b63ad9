import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// What a bundle could do whose checksum, hashes and signature are in order: sections are mutated and sealed
/// anew, and whatever the reader accepts must compile and answer without a trap.
@Suite("Faults behind good seals")
struct ResealedTrafficTests {
  @Test func acceptedBundlesAnswerWithoutATrap() async throws {
    let rounds = ProcessInfo.processInfo.environment["NEEDLETAIL_RESEALED"].flatMap { Int($0) } ?? 2000
    let lanes = ProcessInfo.processInfo.activeProcessorCount
    let good = try BundleWriter(
      model: ModelID("m"), version: ModelVersion(1)!, contents: BundleFixtures.contents(), createdMilliseconds: 1
    ).assembly(compressing: false)
    let answered = await withTaskGroup(of: Int.self) { group in
      for lane in 0..<lanes {
        group.addTask {
          var random = SplitMix64(seed: UInt64(lane) &+ 99)
          return (0..<rounds / lanes).count { _ in Self.answers(good, &random) }
        }
      }
      return await group.reduce(0, +)
    }
    print("resealed: \(rounds), of which \(answered) were accepted and answered")
    #expect(answered > rounds / 100, "too few get as far as an answer")
  }

  /// - Returns: whether the mutated bundle was accepted.
  private static func answers(_ good: BundleAssembly, _ random: inout SplitMix64) -> Bool {
    var mutated = good
    let section = Int.random(in: 0..<good.sections.count, using: &random)
    random.mutate(&mutated.sections[section].stored)
    mutated.sections[section].rawBytes = mutated.sections[section].stored.count
    var options = PlanOptions()
    options.rowsMax = 4
    do {
      let bundle = try VerifiedBundle(
        BundleFile(bytes: mutated.encode(signing: [])), trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      let contents = try bundle.decode()
      let model = try CompiledModel(contents.definition, options: options)
      // A wrong answer is what the golden samples are for; here it must only be one.
      _ = Result { () throws(GoldenFailure) in try GoldenCheck.run(contents.golden, on: model) }
      _ = Result { () throws(ServingError) in try model.answers(for: rows(contents.definition.schema)) }
      return true
    } catch {
      return false
    }
  }

  private static func rows(_ schema: FeatureSchema) -> [[Cell]] {
    let numbers: [Double] = [0, -1e30, .infinity]
    return numbers.map { number in
      schema.features.map { feature in
        switch feature.kind {
        case .numeric, .datetime: .number(number)
        case .categorical(let categories, _): .text(categories.last ?? "")
        case .text: .text("a text of \(number)")
        }
      }
    }
  }
}
