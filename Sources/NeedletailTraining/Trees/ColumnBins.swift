internal import CNeedletailTraining
internal import NeedletailCore

/// Bins of one column, learned from the training rows.
struct ColumnBins: Equatable {
  enum Kind: Equatable {
    /// Ascending bounds: x is in bin b if bounds[b − 1] < x ≤ bounds[b].
    case numbers([Double])
    /// Codes that have a bin, by bin. All others share one that no split asks about.
    case categories([Int])
  }

  /// Place of the column in the input row.
  let column: Int
  let kind: Kind

  /// Bins of values.
  var count: Int {
    switch kind {
    case .numbers(let bounds): bounds.count + 1
    case .categories(let codes): codes.count
    }
  }

  var isCategorical: Bool { if case .categories = kind { true } else { false } }

  /// Rows whose numbers choose the bounds: with more, no bin of 255 changes by more than a tenth of its rows.
  static let sampleRows = 200_000
  /// Categories that can have a bin: one bin is that of missing values, and one that of rare and unknown categories.
  static let categoriesMax = 254

  /// Bins of all columns that have more than one.
  ///
  /// - Parameters:
  ///   - binsMax: bins of numbers, 2 to 255.
  ///   - rowsMin: smallest number of rows that a bin of numbers holds.
  ///   - seed: chooses the rows that bounds are taken from, where there are more than ``sampleRows``.
  static func learn(
    from columns: FeatureColumns, binsMax: Int, rowsMin: Int, seed: UInt64, threads: Int
  ) -> [ColumnBins] {
    let rowCount = columns.rowCount
    let sample = AlignedBuffer<UInt32>(count: rowCount)
    let share = min(1, Double(sampleRows) / Double(max(rowCount, 1)))
    let sampleCount = nt_boost_sample(rowCount, share, seed, sample.start)
    let sorter = NumberSorter(capacity: sampleCount, threads: threads)
    var bounds = [[Double]](repeating: [], count: columns.columns.count)
    let numeric = columns.columns.indices.filter { !columns.columns[$0].isCategorical }
    // As many columns at a time as there are threads: a column's copy takes 3 MB.
    for start in stride(from: 0, to: numeric.count, by: sorter.columnsMax) {
      let batch = numeric[start..<min(start + sorter.columnsMax, numeric.count)]
      let found = sorter.bounds(
        of: batch.map { columns.columns[$0].values },
        rows: UnsafeBufferPointer(start: sample.start, count: sampleCount),
        binsMax: binsMax, rowsMin: rowsMin)
      for (column, own) in zip(batch, found) { bounds[column] = own }
    }
    return columns.columns.enumerated().compactMap { index, column in
      let bins = ColumnBins(
        column: index, kind: column.isCategorical ? .categories(frequentCodes(column)) : .numbers(bounds[index]))
      // Missing values are a reason to split by a column that otherwise never changes.
      let isUseful = bins.count > 1 || (bins.count == 1 && column.hasMissing)
      return isUseful ? bins : nil
    }
  }

  /// Codes of the most frequent categories, ascending.
  private static func frequentCodes(_ column: FeatureColumns.Column) -> [Int] {
    guard case .categorical(let categories, _) = column.feature.kind else { return [] }
    var counts = [Int](repeating: 0, count: categories.count)
    for value in column.values where value >= 0 && value < Double(categories.count) { counts[Int(value)] += 1 }
    let seen = counts.indices.filter { counts[$0] > 0 }
    return seen.sorted { (counts[$1], $0) < (counts[$0], $1) }.prefix(categoriesMax).sorted()
  }

  init(column: Int, kind: Kind) {
    self.column = column
    self.kind = kind
  }
}

extension FeatureColumns.Column {
  var isCategorical: Bool { if case .categorical = feature.kind { true } else { false } }

  var hasMissing: Bool { values.withUnsafeBufferPointer { nt_boost_missing($0.baseAddress, $0.count) } > 0 }
}

/// Sorts samples of several columns at a time and chooses their bounds.
private final class NumberSorter {
  let columnsMax: Int
  private let threads: Int
  private let capacity: Int
  private let numbers: AlignedBuffer<Double>
  private let spare: AlignedBuffer<Double>
  private let bounds: AlignedBuffer<Double>
  private let counts: AlignedBuffer<Int>

  init(capacity: Int, threads: Int) {
    self.capacity = capacity
    self.threads = threads
    columnsMax = max(threads, 1)
    numbers = AlignedBuffer(count: capacity * columnsMax)
    spare = AlignedBuffer(count: capacity * columnsMax)
    bounds = AlignedBuffer(count: Int(NT_BOOST_BINS_MAX) * columnsMax)
    counts = AlignedBuffer(count: columnsMax)
  }

  /// Everything that a thread needs for one column.
  private struct Job {
    let numbers: UnsafeMutablePointer<Double>
    let spare: UnsafeMutablePointer<Double>
    let bounds: UnsafeMutablePointer<Double>
    let counts: UnsafeMutablePointer<Int>
    let capacity: Int
    let binsMax: Int
    let rowsMin: Int
  }

  func bounds(
    of columns: [[Double]], rows: UnsafeBufferPointer<UInt32>, binsMax: Int, rowsMin: Int
  ) -> [[Double]] {
    for (place, values) in columns.enumerated() {
      let target = numbers.start + place * capacity
      var count = 0
      values.withUnsafeBufferPointer { values in
        for row in rows {
          let value = values[Int(row)]
          target[count] = value
          count += value.isNaN ? 0 : 1
        }
      }
      counts.start[place] = count
    }
    let job = Job(
      numbers: numbers.start, spare: spare.start, bounds: bounds.start, counts: counts.start, capacity: capacity,
      binsMax: binsMax, rowsMin: rowsMin)
    Boosting.run(job, parts: columns.count, threads: threads) { context, part in
      let job = context!.assumingMemoryBound(to: Job.self).pointee
      let (numbers, count) = (job.numbers + part * job.capacity, job.counts[part])
      nt_boost_sort(numbers, job.spare + part * job.capacity, count)
      job.counts[part] = nt_boost_bounds(
        numbers, count, job.binsMax, job.rowsMin, job.bounds + part * Int(NT_BOOST_BINS_MAX))
    }
    return columns.indices.map { place in
      Array(UnsafeBufferPointer(start: bounds.start + place * Int(NT_BOOST_BINS_MAX), count: counts.start[place]))
    }
  }
}
