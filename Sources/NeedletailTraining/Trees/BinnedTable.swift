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

/// One byte for every row and column: what trees are grown from. Rows and columns each have their copy: sums read rows,
/// and splits read one column.
final class BinnedTable {
  let columns: [ColumnBins]
  let rowCount: Int
  /// Bins of all features: entries of a histogram.
  let binCount: Int
  private let bins: AlignedBuffer<UInt8>
  /// The same column by column.
  private let columnBins: AlignedBuffer<UInt8>
  private let features: AlignedBuffer<nt_boost_feature>
  /// Points into the buffers above: valid as long as the table.
  let table: nt_boost_table

  /// - Parameters:
  ///   - directions: 1 or −1 for each column whose rising must not lower, or raise, the answers; 0 for the others.
  init(_ columns: FeatureColumns, bins learned: [ColumnBins], directions: [Int] = [], threads: Int) {
    self.columns = learned
    rowCount = columns.rowCount
    let count = learned.count
    // An even number of groups, so that two threads get equally many.
    let groupsWanted = count < 4 ? 1 : 2 * ((count + 2 * Int(NT_BOOST_LANES_MAX) - 1) / (2 * Int(NT_BOOST_LANES_MAX)))
    let lanes = max(1, (count + groupsWanted - 1) / groupsWanted)
    var stride = 1
    while stride < lanes { stride *= 2 }
    let groups = (count + lanes - 1) / lanes
    bins = AlignedBuffer(count: groups * rowCount * stride)
    columnBins = AlignedBuffer(count: count * rowCount)
    features = AlignedBuffer(count: count)
    var first = 0
    for (index, column) in learned.enumerated() {
      features.start[index] = nt_boost_feature(
        first_bin: UInt32(first), bins: UInt16(column.count), is_categorical: column.isCategorical,
        direction: directions.isEmpty ? 0 : Int8(directions[column.column]))
      first += column.count + 1 + (column.isCategorical ? 1 : 0)
    }
    binCount = first
    table = nt_boost_table(
      bins: bins.start, rows: rowCount, stride: stride, lanes: lanes, features: count, feature: features.start)
    for (index, column) in learned.enumerated() {
      Self.fill(columnBins.start + index * rowCount, columns.columns[column.column].values, column, threads: threads)
    }
    withUnsafePointer(to: table) { table in
      let job = nt_boost_interleave_job(columns: columnBins.start, table: table, bins: bins.start)
      Boosting.run(job, parts: Boosting.chunks(rowCount), threads: threads, nt_boost_interleave_task)
    }
  }

  /// Layout of the words that its rows add.
  var rowBits: nt_boost_row_bits { rowCount < Int(NT_BOOST_FINE_ROWS) ? NT_BOOST_FINE : NT_BOOST_COARSE }

  /// Bins of a feature, one a row.
  func bytes(of feature: Int) -> UnsafePointer<UInt8> { UnsafePointer(columnBins.start + feature * rowCount) }

  private static func fill(
    _ target: UnsafeMutablePointer<UInt8>, _ values: [Double], _ column: ColumnBins, threads: Int
  ) {
    var binOfCode: [UInt8] = []
    var bounds: [Double] = []
    switch column.kind {
    case .numbers(let own): bounds = own
    case .categories(let codes):
      binOfCode = [UInt8](repeating: UInt8(codes.count + 1), count: (codes.last ?? -1) + 1)
      for (bin, code) in codes.enumerated() { binOfCode[code] = UInt8(bin) }
    }
    values.withUnsafeBufferPointer { values in
      bounds.withUnsafeBufferPointer { bounds in
        binOfCode.withUnsafeBufferPointer { binOfCode in
          let job = nt_boost_bin_job(
            numbers: values.baseAddress, rows: values.count, bins: target,
            bounds: bounds.baseAddress, bound_count: bounds.count,
            bin_of_code: column.isCategorical ? binOfCode.baseAddress : nil, code_count: binOfCode.count,
            other_bin: UInt8(truncatingIfNeeded: column.count + 1), missing_bin: UInt8(column.count))
          Boosting.run(job, parts: Boosting.chunks(values.count), threads: threads, nt_boost_bin_task)
        }
      }
    }
  }
}

/// Memory of a fixed size, on cache lines of its own, zeroed.
final class AlignedBuffer<Element: BitwiseCopyable> {
  let start: UnsafeMutablePointer<Element>
  let count: Int

  init(count: Int) {
    self.count = count
    let bytes = max(count, 1) * MemoryLayout<Element>.stride
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    start = memory.assumingMemoryBound(to: Element.self)
  }

  deinit { start.deallocate() }
}
