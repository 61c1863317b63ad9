import Foundation
import NeedletailCore

/// Reads one comparison a line as JSON and writes its figures as JSON.
@main
enum DriftDriver {
  struct Comparison: Decodable {
    /// Bins of a column of numbers; nil for categories.
    var edges: [Double]?
    /// Training rows in each bin, or of each category.
    var counts: [Int]
    /// Live values: numbers, or codes of categories.
    var live: [Double]
  }

  struct Figures: Encodable {
    var psi, jensenShannon, chance: Double
    var level: String
    var cells: [Int]
  }

  static func main() throws {
    while let line = readLine() {
      let comparison = try JSONDecoder().decode(Comparison.self, from: Data(line.utf8))
      let column = column(comparison)
      var counts = DriftCounts(cells: column.count)
      for value in comparison.live { counts.add(column.place(of: value)) }
      let figures = DriftFigures(counts, reference: column.reference)
      let answer = Figures(
        psi: figures.stabilityIndex, jensenShannon: figures.jensenShannon, chance: figures.chance,
        level: figures.level.rawValue, cells: counts.cells)
      print(String(decoding: try JSONEncoder().encode(answer), as: UTF8.self))
    }
  }

  private static func column(_ comparison: Comparison) -> DriftColumn {
    let rows = comparison.counts.reduce(0, +)
    let names = comparison.counts.indices.map { "c\($0)" }
    let column: DriftColumn? =
      if let edges = comparison.edges {
        DriftColumn(
          numbers: .init(name: "x", rows: rows, missingRate: 0, quantileEdges: edges, binCounts: comparison.counts))
      } else {
        DriftColumn(
          categories: names,
          .init(name: "x", rows: rows, missingRate: 0, categories: zip(names, comparison.counts).map { ($0, $1) }))
      }
    guard let column else { fatalError("a baseline that does not fit: \(comparison.counts)") }
    return column
  }
}
