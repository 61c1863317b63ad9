internal import Glibc
internal import NeedletailCore

/// Figures of one column.
struct ColumnProfile {
  /// Figures of numbers, and of dates as seconds since 1970.
  struct Numbers: Equatable {
    var minimum: Double
    var maximum: Double
    var mean: Double
    /// Standard deviation of the sample, whose sum of squares is divided by one less than the count.
    var deviation: Double
    /// Adjusted Fisher-Pearson coefficient, as pandas' `skew`; 0 where it is not defined.
    var skew: Double
    /// At 5, 25, 50, 75 and 95 %, between order statistics as NumPy's default.
    var quantiles: [Double]
    var zeros: Int
    /// Values further from the quartiles than 1.5 times their distance.
    var outliers: Int
    /// Counts in ten bins of equal width from minimum to maximum.
    var histogram: [Int]
  }

  /// Figures of text.
  struct Texts: Equatable {
    /// The most frequent values.
    var top: [Count]
    var bytesMean: Double
    /// Values that are another one but for the case of letters.
    var caseVariants: Int

    struct Count: Equatable {
      var value: String
      var count: Int
    }
  }

  static let fractions = [0.05, 0.25, 0.5, 0.75, 0.95]
  static let histogramBins = 10
  static let topMax = 5

  var name: String
  var type: TableRequest.ColumnType
  var rows: Int
  var missing: Int
  var distinct: Int
  /// False where there were too many to count them all.
  var isDistinctExact: Bool
  var numbers: Numbers?
  var texts: Texts?
  /// Quality of its texts, where it is a column of free text.
  var quality: TextQuality?
  /// Why `init` would leave it out.
  var dropReason: String?

  var missingShare: Double { rows > 0 ? Double(missing) / Double(rows) : 0 }

  /// - Parameter column: its values; nil where they were too many different texts to keep.
  init(_ proposed: TableProposal.Column, _ findings: ColumnFindings, _ column: Table.Column?) {
    name = proposed.name
    type = proposed.reading.type
    rows = findings.rows
    missing = proposed.missing
    dropReason = proposed.dropReason
    distinct = findings.distinct
    isDistinctExact = findings.isCounted
    switch column?.values {
    case .numbers(let values):
      missing = values.count { $0.isNaN }
      let sorted = values.filter { !$0.isNaN }.sorted()
      var different = 0
      for index in sorted.indices where index == 0 || sorted[index] != sorted[index - 1] { different += 1 }
      (distinct, isDistinctExact) = (different, true)
      numbers = Numbers(sorted)
    case .categories(let codes, let categories):
      missing = codes.count { $0 < 0 }
      (distinct, isDistinctExact) = (categories.count, true)
      texts = Texts(codes, categories)
    case nil:
      texts = Texts(top: [], bytesMean: findings.bytesPerText, caseVariants: 0)
    }
  }
}

extension ColumnProfile.Numbers {
  /// - Parameter sorted: ascending, without gaps.
  /// - Returns: nil where there are none.
  init?(_ sorted: [Double]) {
    guard let low = sorted.first, let high = sorted.last else { return nil }
    let count = Double(sorted.count)
    let average = sorted.reduce(0, +) / count
    var (squares, cubes) = (0.0, 0.0)
    for value in sorted {
      let difference = value - average
      squares += difference * difference
      cubes += difference * difference * difference
    }
    (minimum, maximum, mean) = (low, high, average)
    deviation = count > 1 ? (squares / (count - 1)).squareRoot() : 0
    skew = 0
    if count > 2, squares > 0 {
      let variance = squares / count
      skew = (count * (count - 1)).squareRoot() / (count - 2) * (cubes / count) / (variance * variance.squareRoot())
    }
    quantiles = ColumnProfile.fractions.map { Quantiles.of(sorted, $0) }
    zeros = sorted.count { $0 == 0 }
    let reach = 1.5 * (quantiles[3] - quantiles[1])
    let (lower, upper) = (quantiles[1] - reach, quantiles[3] + reach)
    outliers = sorted.count { $0 < lower || $0 > upper }
    histogram = [Int](repeating: 0, count: ColumnProfile.histogramBins)
    let width = (high - low) / Double(ColumnProfile.histogramBins)
    for value in sorted {
      let bin = width > 0 && width.isFinite ? Int((value - low) / width) : 0
      histogram[min(bin, ColumnProfile.histogramBins - 1)] += 1
    }
  }
}

extension ColumnProfile.Texts {
  init(_ codes: [Int32], _ categories: [String]) {
    var counts = [Int](repeating: 0, count: categories.count)
    for code in codes where code >= 0 { counts[Int(code)] += 1 }
    let order = categories.indices.sorted { (counts[$0], $1) > (counts[$1], $0) }
    top = order.prefix(ColumnProfile.topMax).map { Count(value: categories[$0], count: counts[$0]) }
    let total = counts.reduce(0, +)
    let bytes = zip(counts, categories).reduce(0) { $0 + $1.0 * $1.1.utf8.count }
    bytesMean = total > 0 ? Double(bytes) / Double(total) : 0
    caseVariants = categories.count - Set(categories.map { $0.lowercased() }).count
  }
}

/// Rows that repeat others, whole or in all columns but one.
struct DuplicateSearch {
  /// Rows beyond the first of each kind.
  private(set) var exact = 0
  /// Rows among the first ``nearRowsMax`` that equal another one in all columns but one, and repeat none whole.
  private(set) var near = 0
  private(set) var nearRows = 0

  /// Rows that are compared for near duplicates: each takes as many look-ups as there are columns.
  static let nearRowsMax = 50_000

  /// - Parameter columns: all of them, of the same number of rows. A column that repeats in no row tells rows apart, so
  ///   the caller leaves it out for near duplicates to mean something.
  init(_ columns: [Table.Column], rows: Int) {
    var sums = [UInt64](repeating: 0, count: rows)
    var seen: Set<UInt64> = []
    for (index, column) in columns.enumerated() {
      for row in 0..<rows { sums[row] &+= Self.hash(column, row, index) }
    }
    var isRepeated = [Bool](repeating: false, count: rows)
    for row in 0..<rows where !seen.insert(sums[row]).inserted {
      isRepeated[row] = true
      exact += 1
    }
    guard columns.count > 2 else { return }
    nearRows = min(rows, Self.nearRowsMax)
    var isNear = [Bool](repeating: false, count: nearRows)
    for (index, column) in columns.enumerated() {
      var firstRow: [UInt64: Int] = [:]
      for row in 0..<nearRows where !isRepeated[row] {
        // What is left of the sum once the column is taken away.
        let rest = sums[row] &- Self.hash(column, row, index)
        if let other = firstRow[rest] {
          isNear[row] = true
          isNear[other] = true
        } else {
          firstRow[rest] = row
        }
      }
    }
    near = isNear.count { $0 }
  }

  private static func hash(_ column: Table.Column, _ row: Int, _ index: Int) -> UInt64 {
    let value: UInt64 =
      switch column.values {
      case .numbers(let numbers): numbers[row].isNaN ? 0x7FF8 << 48 : (numbers[row] + 0).bitPattern
      case .categories(let codes, _): UInt64(bitPattern: Int64(codes[row]))
      }
    // SplitMix64's mixing, of a value that differs from column to column.
    var hash = value &+ UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15
    hash = (hash ^ (hash >> 30)) &* 0xBF58_476D_1CE4_E5B9
    hash = (hash ^ (hash >> 27)) &* 0x94D0_49BB_1331_11EB
    return hash ^ (hash >> 31)
  }
}
