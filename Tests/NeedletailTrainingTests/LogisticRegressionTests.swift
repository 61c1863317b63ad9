import Foundation
import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

@Suite struct LogisticRegressionTests {
  private let family = LogisticRegression()

  private func fit(
    _ samples: Samples<IndicatorRows>, classes: Int, c: Double = 1, l1Ratio: Double = 0
  ) throws -> (point: [Double], loss: LogisticLoss, notes: [String]) {
    let context = FitContext(
      family, task: .classification, classCount: classes, train: samples,
      model: ["c": .number(c), "l1_ratio": .number(l1Ratio)])
    let fitted = try #require(try family.fit(context) as? LogisticRegression.Fitted)
    return (
      fitted.point, LogisticLoss(samples: samples, classCount: classes, c: c, l1Ratio: l1Ratio), fitted.notes
    )
  }

  private func samples(_ inputs: Matrix, _ targets: [Double]) -> Samples<IndicatorRows> {
    Samples(inputs: IndicatorRows(inputs), targets: targets)
  }

  private func noisy(rows: Int, classes: Int) -> Samples<IndicatorRows> {
    let inputs = Synthetic.inputs(rows: rows, columns: 4, seed: 7)
    var random = RandomSource(seed: 8)
    let targets = (0..<rows).map { row in
      let score = Double(inputs[row, 0]) + 0.5 * Double(inputs[row, 1]) + random.normal()
      return Double(max(0, min(classes - 1, Int((score + 1.5) / 3 * Double(classes)))))
    }
    return samples(inputs, targets)
  }

  @Test(arguments: [2, 3, 5])
  func theGradientAtTheSolutionIsZero(classes: Int) throws {
    var (point, loss, notes) = try fit(noisy(rows: 300, classes: classes), classes: classes)
    var gradient = [Double](repeating: 0, count: point.count)
    _ = loss.evaluate(point, gradient: &gradient)
    #expect(gradient.allSatisfy { abs($0) <= 1e-8 })
    #expect(notes[0].hasPrefix("converged after"))
  }

  @Test(arguments: [2, 4])
  func theGradientIsTheDerivativeOfTheLoss(classes: Int) {
    var loss = LogisticLoss(samples: noisy(rows: 40, classes: classes), classCount: classes, c: 0.3)
    var random = RandomSource(seed: 1)
    let point = (0..<loss.parameterCount).map { _ in random.normal() }
    var gradient = [Double](repeating: 0, count: point.count)
    var ignored = gradient
    _ = loss.evaluate(point, gradient: &gradient)
    for index in point.indices {
      var ahead = point
      var behind = point
      ahead[index] += 1e-5
      behind[index] -= 1e-5
      let slope = (loss.evaluate(ahead, gradient: &ignored) - loss.evaluate(behind, gradient: &ignored)) / 2e-5
      #expect(abs(slope - gradient[index]) < 1e-8)
    }
  }

  @Test func withoutInformativeColumnsTheInterceptIsTheLogOdds() throws {
    let inputs = Matrix(rows: 8, columns: 1)
    let (point, _, _) = try fit(samples(inputs, [0, 0, 1, 1, 1, 1, 1, 1]), classes: 2)
    #expect(abs(point[1] - log(3)) < 1e-6)
    #expect(point[0] == 0)
  }

  @Test func separableDataStillHasAFiniteOptimum() throws {
    let inputs = Matrix(rows: 4, columns: 1, elements: [-2, -1, 1, 2])
    let (point, _, notes) = try fit(samples(inputs, [0, 0, 1, 1]), classes: 2, c: 1e6)
    #expect(point.allSatisfy(\.isFinite) && point[0] > 1)
    #expect(notes[0].hasPrefix("converged"))
  }

  @Test(arguments: [2, 4], [0.3, 1])
  func aPenaltyOnMagnitudesLeavesSubgradientsInBounds(classes: Int, ratio: Double) throws {
    var (point, loss, notes) = try fit(noisy(rows: 300, classes: classes), classes: classes, c: 0.05, l1Ratio: ratio)
    var gradient = [Double](repeating: 0, count: point.count)
    _ = loss.evaluate(point, gradient: &gradient)
    let penalties = loss.magnitudePenalties
    // Where a weight is 0 the penalty outweighs the slope; elsewhere both are equal and opposite.
    for index in point.indices {
      if point[index] == 0 {
        #expect(abs(gradient[index]) <= penalties[index] + 1e-8)
      } else {
        #expect(abs(gradient[index] + penalties[index] * (point[index] > 0 ? 1 : -1)) <= 2e-8)
      }
    }
    let weights = loss.outputCount * 4
    #expect(point[..<weights].contains(0) && point[..<weights].contains { $0 != 0 })
    #expect(notes.last == "\(point[..<weights].count { $0 == 0 }) of \(weights) weights are 0")
  }

  @Test func weightsCountLikeRepeatedRows() throws {
    let plain = noisy(rows: 60, classes: 3)
    let weights = (0..<60).map { Float($0 % 3 == 0 && plain.targets[$0] != 2 ? 0 : 1 + $0 % 2) }
    var (elements, targets): ([Float], [Double]) = ([], [])
    for row in 0..<60 {
      for _ in 0..<Int(weights[row]) {
        elements += (0..<4).map { plain.inputs.row.numbers[row, $0] }
        targets.append(plain.targets[row])
      }
    }
    let repeated = samples(Matrix(rows: targets.count, columns: 4, elements: elements), targets)
    let expected = try fit(repeated, classes: 3).point
    var weighted = plain
    weighted.weights = weights
    let found = try fit(weighted, classes: 3).point
    for (x, y) in zip(found, expected) { #expect(abs(x - y) < 1e-6) }
  }

  @Test func weightsOfClassesAreTakenByTheirNames() throws {
    let plain = noisy(rows: 200, classes: 2)
    func fit(_ setting: Document, _ weights: [Float]) throws -> [Double] {
      var rows = plain
      rows.weights = weights
      var context = FitContext(
        family, task: .classification, classCount: 2, train: rows, training: ["class_weights": setting])
      context.labels = ["no", "yes"]
      return try #require(try family.fit(context) as? LogisticRegression.Fitted).point
    }
    let counts = (0...1).map { own in Double(plain.targets.count { Int($0) == own }) }
    for (setting, factors) in [
      (Document.section([.init("yes", .number(3))]), [1, 3]), (.text("balanced"), counts.map { 100 / $0 }),
    ] {
      let found = try fit(setting, [])
      let expected = try fit(.text("none"), plain.targets.map { Float(factors[Int($0)]) })
      for (x, y) in zip(found, expected) { #expect(abs(x - y) < 1e-5) }
    }
  }
}
