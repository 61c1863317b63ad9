internal import Glibc

/// Shares of the training rows along the paths of one tree.
struct TreePaths {
  /// One for each edge, 2 · split + side: product of the shares of all edges by the same column down to it.
  var shares: [Double] = []
  /// One for each split: edge that the same column decided last above it, or −1.
  var previous: [Int32] = []
  /// One for each leaf: share of all rows that reach it.
  var leafShares: [Double]
  /// Different columns on a path, at most.
  var columnsMax = 0

  init(_ tree: TreeShape.Tree, _ shape: TreeShape, _ covers: [Float]) {
    leafShares = [Double](repeating: 1, count: tree.leaves)
    let children = (0..<tree.splits).map {
      (shape.left[tree.firstSplit + $0], shape.right[tree.firstSplit + $0])
    }
    // Children follow their parents.
    var cover = [Double](repeating: 0, count: tree.splits)
    func weight(_ child: Int32) -> Double {
      child >= 0 ? cover[Int(child)] : Double(covers[tree.firstLeaf + Int(~child)])
    }
    for split in (0..<tree.splits).reversed() { cover[split] = weight(children[split].0) + weight(children[split].1) }
    /// Edge into each split, the share of all rows that come to it, and how many columns were asked about above.
    var parents = [Int](repeating: -1, count: tree.splits)
    var reach = [Double](repeating: 1, count: tree.splits)
    var asked = [Int](repeating: 0, count: tree.splits)
    for split in 0..<tree.splits {
      let column = shape.columns[tree.firstSplit + split]
      var edge = parents[split]
      while edge >= 0, shape.columns[tree.firstSplit + edge / 2] != column { edge = parents[edge / 2] }
      previous.append(Int32(edge))
      let count = asked[split] + (edge < 0 ? 1 : 0)
      columnsMax = max(columnsMax, count)
      for (side, child) in [children[split].0, children[split].1].enumerated() {
        // Where no training row came, both ways are as likely.
        let share = cover[split] > 0 ? weight(child) / cover[split] : 0.5
        shares.append((edge < 0 ? 1 : shares[edge]) * share)
        if child >= 0 {
          parents[Int(child)] = 2 * split + side
          reach[Int(child)] = reach[split] * share
          asked[Int(child)] = count
        } else {
          leafShares[Int(~child)] = reach[split] * share
        }
      }
    }
  }
}

/// Gauss–Legendre quadrature on 0…1, which is exact for polynomials of degrees below twice the number of its points.
struct GaussRule: Sendable {
  let points: Int
  /// Points, 1 − points, and weights, by fours; points beyond the last have weight 0.
  private let t: [SIMD4<Double>]
  private let rest: [SIMD4<Double>]
  private let weights: [SIMD4<Double>]

  var vectors: Int { t.count }

  init(points: Int) {
    self.points = points
    let vectors = (points + 3) / 4
    var t = [SIMD4<Double>](repeating: SIMD4(repeating: 0.5), count: vectors)
    var rest = t
    var weights = [SIMD4<Double>](repeating: .zero, count: vectors)
    for point in 0..<points {
      // Newton's method from the asymptotic place of the root of the Legendre polynomial.
      var x = cos(Double.pi * (Double(point) + 0.75) / (Double(points) + 0.5))
      var slope = 0.0
      for _ in 0..<100 {
        var (value, before) = (1.0, 0.0)
        for degree in 1...points {
          let k = Double(degree)
          (value, before) = (((2 * k - 1) * x * value - (k - 1) * before) / k, value)
        }
        slope = Double(points) * (x * value - before) / (x * x - 1)
        let step = value / slope
        x -= step
        if abs(step) < 1e-15 { break }
      }
      t[point / 4][point % 4] = (1 + x) / 2
      rest[point / 4][point % 4] = (1 - x) / 2
      weights[point / 4][point % 4] = 1 / ((1 - x * x) * slope * slope)
    }
    (self.t, self.rest, self.weights) = (t, rest, weights)
  }

  func withPoints<Result>(
    _ body: (
      _ t: UnsafePointer<SIMD4<Double>>, _ rest: UnsafePointer<SIMD4<Double>>,
      _ weights: UnsafePointer<SIMD4<Double>>, _ vectors: Int
    ) -> Result
  ) -> Result {
    t.withUnsafeBufferPointer { t in
      rest.withUnsafeBufferPointer { rest in
        weights.withUnsafeBufferPointer { weights in
          guard let t = t.baseAddress, let rest = rest.baseAddress, let weights = weights.baseAddress else {
            preconditionFailure("a rule has a point")
          }
          return body(t, rest, weights, vectors)
        }
      }
    }
  }
}
