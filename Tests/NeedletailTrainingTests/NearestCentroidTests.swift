import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

@Suite struct NearestCentroidTests {
  private func fit(_ inputs: Matrix, _ targets: [Double], classes: Int) throws -> NearestCentroid.Fitted {
    let samples = Samples(inputs: inputs, targets: targets)
    let context = FitContext(NearestCentroid(), task: .classification, classCount: classes, train: samples)
    return try #require(try NearestCentroid().fit(context) as? NearestCentroid.Fitted)
  }

  @Test func theLogitsAreThoseOfGaussiansAroundTheCentroids() throws {
    // Centroids (1, 0) and (5, 2); every row is 1 away from its own in one of two columns: variance ½.
    let inputs = Matrix(rows: 4, columns: 2, elements: [0, 0, 2, 0, 5, 1, 5, 3])
    let fitted = try fit(inputs, [0, 0, 1, 1], classes: 2)
    #expect(fitted.centroids == [[1, 0], [5, 2]])
    #expect(fitted.variance == 0.5)
    var builder = GraphBuilder(inputColumns: 2)
    let head = fitted.export(into: &builder, input: 0)
    guard case .float32(let weights) = builder.tensors[0].storage, case .float32(let bias) = builder.tensors[1].storage
    else {
      Issue.record("expected fp32 weights")
      return
    }
    func logit(_ index: Int, _ x: Float, _ y: Float) -> Float {
      weights[2 * index] * x + weights[2 * index + 1] * y + bias[index]
    }
    // At (4, 3) the squared distances are 18 and 2: the logits differ by (18 − 2) / 2 / ½ = 16.
    #expect(head == .logits(1))
    #expect(abs(logit(1, 4, 3) - logit(0, 4, 3) - 16) < 1e-4)
    // Half way between the centroids both classes are equal.
    #expect(abs(logit(1, 3, 1) - logit(0, 3, 1)) < 1e-4)
  }

  @Test func oneRowAClassIsEnough() throws {
    let fitted = try fit(Matrix(rows: 3, columns: 1, elements: [1, 2, 6]), [0, 1, 2], classes: 3)
    #expect(fitted.variance == 1)
    #expect(fitted.centroids == [[1], [2], [6]])
  }

  @Test func largeNumbersThatDifferLittleAreToldApart() throws {
    // Years: x·c and |c|² are about 4,000,000, where fp32 steps by a quarter.
    let years: [Float] = [1998, 1999, 2000, 2002, 2003, 2004]
    let fitted = try fit(Matrix(rows: 6, columns: 1, elements: years), [0, 0, 0, 1, 1, 1], classes: 2)
    var builder = GraphBuilder(inputColumns: 1)
    _ = fitted.export(into: &builder, input: 0)
    guard case .float32(let weights) = builder.tensors[0].storage, case .float32(let bias) = builder.tensors[1].storage
    else {
      Issue.record("expected fp32 weights")
      return
    }
    // The border lies at 2001.
    for (year, isSecond) in [(2000.9 as Float, false), (2001.1, true)] {
      #expect((weights[1] * year + bias[1] > weights[0] * year + bias[0]) == isSecond)
    }
  }
}
