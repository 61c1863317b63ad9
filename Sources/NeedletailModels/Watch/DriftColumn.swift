public import NeedletailCore

/// One column of a drift baseline as cells that live values are counted in, next to how many training rows each had.
///
/// - A number falls into a bin of the baseline. The first and the last bin are open towards the outside, and what lies
///   beyond the outermost edges is counted besides, as out of range. Where all training rows had one number, the cells
///   are that number and every other one.
/// - A category has a cell of its own, and the last cell is for all that the baseline does not name. What the model
///   does not know is counted there, and besides as unknown.
/// - What is missing has no cell; it is counted by itself.
public struct DriftColumn: Sendable {
  /// Place of one value among the cells.
  public enum Place: Equatable, Sendable {
    case cell(Int)
    /// Below or above everything that training saw; counted in an outer cell.
    case outOfRange(Int)
    /// A category that the model does not know; counted in the last cell.
    case unknown(Int)
    case missing
  }

  private enum Cells: Sendable {
    case number(edges: [Double])
    /// Cell of each code that the binder gives to a known category.
    case category([Int])
  }

  public let name: String
  /// Training rows in each cell.
  public let reference: [Int]
  /// Share of the training rows in which the value was missing, 0 to 1.
  public let missingRate: Double
  private let cells: Cells

  /// Number of cells.
  public var count: Int { reference.count }

  /// Cells of a feature; nil where its baseline cannot be compared: it has no rows with a value, its categories are
  /// hashed, or it does not fit the feature. A text is compared by its length in bytes, which is what is bound.
  public init?(_ baseline: DriftBaseline.Column, _ feature: Feature) {
    switch feature.kind {
    case .numeric, .datetime, .text:
      self.init(numbers: baseline)
    case .categorical(let categories, let unknown):
      guard unknown != .hash else { return nil }
      self.init(categories: categories, baseline)
    }
  }

  /// Cells of a column of numbers: of a feature, or of the answers of a regression.
  public init?(numbers baseline: DriftBaseline.Column) {
    let edges = baseline.quantileEdges
    guard baseline.categories.isEmpty, !edges.isEmpty, edges.allSatisfy(\.isFinite),
      zip(edges, edges.dropFirst()).allSatisfy({ $0 < $1 }), baseline.binCounts.count == edges.count - 1,
      baseline.binCounts.allSatisfy({ $0 >= 0 })
    else { return nil }
    name = baseline.name
    missingRate = baseline.missingRate
    let present = Int((Double(baseline.rows) * (1 - baseline.missingRate)).rounded())
    reference = edges.count == 1 ? [present, 0] : baseline.binCounts
    guard reference.contains(where: { $0 > 0 }) else { return nil }
    cells = .number(edges: edges)
  }

  /// Cells of a column of categories or class labels, which stand for codes from 0 on.
  public init?(categories: [String], _ baseline: DriftBaseline.Column) {
    guard baseline.quantileEdges.isEmpty, !baseline.categories.isEmpty, !categories.isEmpty else { return nil }
    var codes: [String: Int] = [:]
    for (code, category) in categories.enumerated() { codes[category] = code }
    var cells = [Int](repeating: baseline.categories.count, count: categories.count)
    var counts: [Int] = []
    for (cell, (category, count)) in baseline.categories.enumerated() {
      guard count >= 0, let code = codes[category] else { return nil }
      cells[code] = cell
      counts.append(count)
    }
    let present = Int((Double(baseline.rows) * (1 - baseline.missingRate)).rounded())
    let named = counts.reduce(0) { $0.addingReportingOverflow($1).partialValue }
    guard named > 0 else { return nil }
    name = baseline.name
    missingRate = baseline.missingRate
    reference = counts + [max(0, present - named)]
    self.cells = .category(cells)
  }

  /// Place of a bound value: NaN is missing, a category is its code.
  /// - Complexity: O(log cells) for numbers, O(1) for categories.
  public func place(of value: Double) -> Place {
    guard !value.isNaN else { return .missing }
    switch cells {
    case .category(let cells):
      guard value >= 0, value < Double(cells.count) else { return .unknown(count - 1) }
      return .cell(cells[Int(value)])
    case .number(let edges):
      let last = edges.count - 1
      if last == 0 { return value == edges[0] ? .cell(0) : .outOfRange(1) }
      if value < edges[0] { return .outOfRange(0) }
      if value > edges[last] { return .outOfRange(last - 1) }
      // The last edge that is not above the value begins its bin; the last bin includes its upper edge.
      var (low, high) = (0, last)
      while high - low > 1 {
        let middle = (low + high) / 2
        if edges[middle] <= value { low = middle } else { high = middle }
      }
      return .cell(low)
    }
  }
}
