internal import NeedletailCore
internal import NeedletailEngine

/// How far the answers of two models agree on the same rows.
struct AnswerSimilarity: Equatable {
  /// What is compared.
  enum Kind: Equatable {
    /// Mean cosine of vectors.
    case vectors
    /// 1 less the mean distance of two distributions, ½ Σ|p − q|: no class gained or lost more on average.
    case probabilities
    /// Share of rows whose places in the text are the same; of so many numbers the last one is a score.
    case places(stride: Int)
    /// 1 less the mean difference, in units of the mean deviation of the numbers from their mean.
    case numbers

    var words: String {
      switch self {
      case .vectors: "mean cosine"
      case .places: "share of texts with the same places"
      case .probabilities: "1 − mean distance of the probabilities"
      case .numbers: "1 − mean difference in units of the mean deviation"
      }
    }

    /// Least similarity with which int8 may take the place of fp32.
    var least: Double { self == .vectors ? 0.995 : 0.98 }
  }

  var kind: Kind
  /// 1 for equal answers.
  var mean: Double
  /// Similarity of the row that agrees least; for numbers, the same as the mean.
  var least: Double
  /// Share of rows with the same class; nil without classes.
  var sameClass: Double?

  /// Compares rows of numbers.
  ///
  /// - Parameters:
  ///   - expected: all rows one after the other, `width` numbers each.
  ///   - kind: what the numbers are.
  init(_ found: [Double], _ expected: [Double], width: Int, kind: Kind) {
    precondition(found.count == expected.count && found.count.isMultiple(of: width) && !found.isEmpty)
    self.kind = kind
    let rows = found.count / width
    if kind == .numbers {
      let mean = expected.reduce(0, +) / Double(expected.count)
      let spread = expected.reduce(0) { $0 + abs($1 - mean) }
      let difference = zip(found, expected).reduce(0) { $0 + abs($1.0 - $1.1) }
      self.mean = 1 - difference / max(spread, 1e-9 * Double(expected.count))
      least = self.mean
      return
    }
    var (sum, lowest, same) = (0.0, Double.infinity, 0)
    for row in 0..<rows {
      let range = row * width..<(row + 1) * width
      let (x, y) = (found[range], expected[range])
      let similarity: Double
      switch kind {
      case .vectors: similarity = Self.cosine(x, y)
      case .places(let stride):
        let isEqual = (0..<width).allSatisfy {
          ($0 + 1) % stride == 0 || found[range.lowerBound + $0] == expected[range.lowerBound + $0]
        }
        similarity = isEqual ? 1 : 0
      case .probabilities, .numbers: similarity = 1 - zip(x, y).reduce(0) { $0 + abs($1.0 - $1.1) } / 2
      }
      sum += similarity
      lowest = min(lowest, similarity)
      if kind == .probabilities, Self.best(x) == Self.best(y) { same += 1 }
    }
    mean = sum / Double(rows)
    least = lowest
    sameClass = kind == .probabilities ? Double(same) / Double(rows) : nil
  }

  private static func cosine(_ x: ArraySlice<Double>, _ y: ArraySlice<Double>) -> Double {
    var (product, xx, yy) = (0.0, 0.0, 0.0)
    for (a, b) in zip(x, y) {
      product += a * b
      xx += a * a
      yy += b * b
    }
    // Two vectors of zeros are equal.
    return xx == 0 && yy == 0 ? 1 : product / max((xx * yy).squareRoot(), 1e-300)
  }

  private static func best(_ x: ArraySlice<Double>) -> Int { x.indices.max { x[$0] < x[$1] }! - x.startIndex }

  /// Whether int8 may take the place of fp32.
  var passes: Bool { mean >= kind.least && (sameClass ?? 1) >= kind.least }

  var words: String {
    let agreement = sameClass.map { ", the same class for \(Figures.short(100 * $0)) %" } ?? ""
    return "\(kind.words) \(Figures.fixed(mean, 5))\(agreement)"
  }
}
