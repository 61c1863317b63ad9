/// How inputs and answers were distributed when the model was trained.
public struct DriftBaseline: Equatable, Sendable {
  public struct Column: Equatable, Sendable {
    public var name: String
    public var rows: Int
    /// 0…1.
    public var missingRate: Double
    /// Ascending, numeric columns only: e edges bound e − 1 bins of about equal mass.
    public var quantileEdges: [Double]
    public var binCounts: [Int]
    /// Categorical columns only, most frequent first.
    public var categories: [(category: String, count: Int)]

    public init(
      name: String, rows: Int, missingRate: Double, quantileEdges: [Double] = [], binCounts: [Int] = [],
      categories: [(category: String, count: Int)] = []
    ) {
      self.name = name
      self.rows = rows
      self.missingRate = missingRate
      self.quantileEdges = quantileEdges
      self.binCounts = binCounts
      self.categories = categories
    }

    public static func == (a: Column, b: Column) -> Bool {
      a.name == b.name && a.rows == b.rows && a.missingRate == b.missingRate
        && a.quantileEdges == b.quantileEdges && a.binCounts == b.binCounts
        && a.categories.elementsEqual(b.categories, by: { $0.category == $1.category && $0.count == $1.count })
    }
  }

  public var features: [Column]
  public var prediction: Column

  public init(features: [Column], prediction: Column) {
    self.features = features
    self.prediction = prediction
  }
}
