internal import Glibc

/// Settings that a search varies, as dimensions of numbers. A point holds one number a dimension.
struct SearchSpace: Equatable, Sendable {
  /// Values that a dimension may take.
  enum Domain: Equatable, Sendable {
    case real(ClosedRange<Double>, isLogarithmic: Bool)
    /// Whole numbers. Logarithmic ones begin at 1 or above.
    case whole(ClosedRange<Int>, isLogarithmic: Bool)
    /// Indices from 0 to below this, whose order means nothing.
    case choice(Int)
  }

  struct Dimension: Equatable, Sendable {
    var name: String
    var domain: Domain
    /// The dimension exists only where an earlier one, a choice, holds one of these indices; nil: always.
    var condition: Condition?

    init(_ name: String, _ domain: Domain, when condition: Condition? = nil) {
      self.name = name
      self.domain = domain
      self.condition = condition
    }
  }

  struct Condition: Equatable, Sendable {
    /// Place of the earlier dimension.
    var dimension: Int
    var choices: Set<Int>
  }

  /// One number a dimension, in its own units; nil where its condition does not hold.
  typealias Point = [Double?]

  let dimensions: [Dimension]

  /// - Precondition: domains are not empty, and conditions name earlier choices.
  init(_ dimensions: [Dimension]) {
    for (index, dimension) in dimensions.enumerated() {
      switch dimension.domain {
      case .real(let range, let isLogarithmic): precondition(!isLogarithmic || range.lowerBound > 0, dimension.name)
      case .whole(let range, let isLogarithmic): precondition(!isLogarithmic || range.lowerBound > 0, dimension.name)
      case .choice(let count): precondition(count > 0, dimension.name)
      }
      guard let condition = dimension.condition else { continue }
      guard condition.dimension < index, case .choice = dimensions[condition.dimension].domain else {
        preconditionFailure("\(dimension.name): a condition names an earlier choice")
      }
    }
    self.dimensions = dimensions
  }

  /// True where the dimension exists, given the numbers of the dimensions before it.
  func isActive(_ index: Int, in point: Point) -> Bool {
    guard let condition = dimensions[index].condition else { return true }
    return point[condition.dimension].map { condition.choices.contains(Int($0)) } ?? false
  }

  /// True for a point with a number inside the domain of every dimension that exists, and nil for every other.
  func contains(_ point: Point) -> Bool {
    guard point.count == dimensions.count else { return false }
    return point.indices.allSatisfy { index in
      guard isActive(index, in: point) else { return point[index] == nil }
      return point[index].map { dimensions[index].domain.contains($0) } ?? false
    }
  }

  /// A point drawn from the uniform distribution, or that of the logarithms.
  func randomPoint(_ random: inout some RandomNumberGenerator) -> Point {
    var point = Point(repeating: nil, count: dimensions.count)
    for index in dimensions.indices where isActive(index, in: point) {
      point[index] = dimensions[index].domain.randomValue(&random)
    }
    return point
  }
}

extension SearchSpace.Domain {
  func contains(_ value: Double) -> Bool {
    switch self {
    case .real(let range, _): range.contains(value)
    case .whole(let range, _): Int(exactly: value).map { range.contains($0) } ?? false
    case .choice(let count): Int(exactly: value).map { (0..<count).contains($0) } ?? false
    }
  }

  /// The only value; nil where there are several.
  var singleValue: Double? {
    switch self {
    case .real(let range, _): range.lowerBound == range.upperBound ? range.lowerBound : nil
    case .whole(let range, _): range.count == 1 ? Double(range.lowerBound) : nil
    case .choice(let count): count == 1 ? 0 : nil
    }
  }

  /// Interval of a number on the scale on which it is searched: a whole number stands for its half each way, and a
  /// logarithmic one for its logarithm. Nil for choices.
  var scaledRange: ClosedRange<Double>? {
    switch self {
    case .real(let range, let isLogarithmic):
      isLogarithmic ? log(range.lowerBound)...log(range.upperBound) : range
    case .whole(let range, let isLogarithmic):
      isLogarithmic
        ? log(Double(range.lowerBound) - 0.5)...log(Double(range.upperBound) + 0.5)
        : (Double(range.lowerBound) - 0.5)...(Double(range.upperBound) + 0.5)
    case .choice: nil
    }
  }

  var isLogarithmic: Bool {
    switch self {
    case .real(_, let isLogarithmic), .whole(_, let isLogarithmic): isLogarithmic
    case .choice: false
    }
  }

  /// The value nearest to a number on the scale of ``scaledRange``.
  func value(scaled: Double) -> Double {
    let value = isLogarithmic ? exp(scaled) : scaled
    switch self {
    case .real(let range, _): return min(max(value, range.lowerBound), range.upperBound)
    case .whole(let range, _):
      return min(max(value.rounded(), Double(range.lowerBound)), Double(range.upperBound))
    case .choice: return value
    }
  }

  func randomValue(_ random: inout some RandomNumberGenerator) -> Double {
    if let singleValue { return singleValue }
    let share = Uniform.next(&random)
    if case .choice(let count) = self { return min((share * Double(count)).rounded(.down), Double(count - 1)) }
    let range = scaledRange ?? 0...1
    return value(scaled: range.lowerBound + share * (range.upperBound - range.lowerBound))
  }
}

/// Numbers of the uniform distribution over [0, 1), with 53 bits.
enum Uniform {
  static func next(_ random: inout some RandomNumberGenerator) -> Double {
    Double(random.next() >> 11) * 0x1p-53
  }
}
