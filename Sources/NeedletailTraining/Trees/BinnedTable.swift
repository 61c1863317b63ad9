internal import CNeedletailTraining

/// One byte for every row and column: what trees are grown from. Rows and columns each have their copy: sums read rows,
/// and splits read one column. Sparse features share columns.
final class BinnedTable {
  let columns: [ColumnBins]
  let rowCount: Int
  /// Bins of all features: entries of a histogram.
  let binCount: Int
  private let bins: AlignedBuffer<UInt8>
  /// The same column by column.
  private let columnBins: AlignedBuffer<UInt8>
  private let features: AlignedBuffer<nt_boost_feature>
  /// Features by column, and the place of each column's first.
  private let byColumn: AlignedBuffer<UInt32>
  private let firstOfColumn: AlignedBuffer<UInt32>
  /// Points into the buffers above: valid as long as the table.
  let table: nt_boost_table

  /// - Parameters:
  ///   - directions: 1 or −1 for each column whose rising must not lower, or raise, the answers; 0 for the others.
  ///   - sharesColumns: false for rows that trees are not grown on, of which two features may differ from their common
  ///     bins where no training row did.
  init(
    _ columns: FeatureColumns, bins learned: [ColumnBins], directions: [Int] = [], sharesColumns: Bool, threads: Int
  ) {
    self.columns = learned
    rowCount = columns.rowCount
    features = AlignedBuffer(count: learned.count)
    var first = 0
    for (index, column) in learned.enumerated() {
      features.start[index] = nt_boost_feature(
        first_bin: UInt32(first), bins: UInt16(column.count), is_categorical: column.isCategorical,
        direction: directions.isEmpty ? 0 : Int8(directions[column.column]), column: 0, common_bin: 0, first_byte: 0)
      first += nt_boost_all_bins(features.start + index)
    }
    binCount = first
    let own = AlignedBuffer<UInt8>(count: learned.count * rowCount)
    for (index, column) in learned.enumerated() {
      Self.fill(own.start + index * rowCount, columns.columns[column.column].values, column, threads: threads)
    }
    let plan = ColumnSharing(features, own, rows: rowCount, features: learned.count, isOn: sharesColumns)
    columnBins = plan.isTrivial ? own : plan.columns(features, own, rows: rowCount, threads: threads)
    byColumn = AlignedBuffer(count: learned.count)
    firstOfColumn = AlignedBuffer(count: plan.columns.count + 1)
    var place = 0
    for (column, members) in plan.columns.enumerated() {
      for feature in members {
        features.start[feature].column = UInt32(column)
        byColumn.start[place] = UInt32(feature)
        place += 1
      }
      firstOfColumn.start[column + 1] = UInt32(place)
    }

    let count = plan.columns.count
    // An even number of groups, so that two threads get equally many.
    let groupsWanted = count < 4 ? 1 : 2 * ((count + 2 * Int(NT_BOOST_LANES_MAX) - 1) / (2 * Int(NT_BOOST_LANES_MAX)))
    let lanes = max(1, (count + groupsWanted - 1) / groupsWanted)
    var stride = 1
    while stride < lanes { stride *= 2 }
    bins = AlignedBuffer(count: (count + lanes - 1) / lanes * rowCount * stride)
    table = nt_boost_table(
      bins: bins.start, rows: rowCount, stride: stride, lanes: lanes, columns: count, features: learned.count,
      feature: features.start, by_column: byColumn.start, first_of_column: firstOfColumn.start)
    withUnsafePointer(to: table) { table in
      let job = nt_boost_interleave_job(columns: columnBins.start, table: table, bins: bins.start)
      Boosting.run(job, parts: Boosting.chunks(rowCount), threads: threads, nt_boost_interleave_task)
    }
  }

  /// Layout of the words that its rows add.
  var rowBits: nt_boost_row_bits { rowCount < Int(NT_BOOST_FINE_ROWS) ? NT_BOOST_FINE : NT_BOOST_COARSE }

  /// Bytes of the column that holds a feature, one a row.
  func bytes(of feature: Int) -> UnsafePointer<UInt8> {
    UnsafePointer(columnBins.start + Int(features.start[feature].column) * rowCount)
  }

  /// A step on bins of a feature, which its `column` names, as one on the bytes of this table's columns.
  func onBytes(_ step: nt_boost_step) -> nt_boost_step {
    let feature = features.start[Int(step.column)]
    var moved = step
    moved.column = feature.column
    let column = Int(feature.column)
    guard firstOfColumn.start[column + 1] - firstOfColumn.start[column] > 1 else { return moved }
    func goesLeft(_ bin: Int) -> Bool {
      let words = [step.members.0, step.members.1, step.members.2, step.members.3]
      return words[bin >> 6] >> UInt64(bin & 63) & 1 == 1
    }
    // Bytes of the features beside it mean the common bin.
    let common = Int(feature.common_bin)
    var words = [UInt64](repeating: goesLeft(common) ? ~0 : 0, count: 4)
    for bin in 0..<(Int(feature.bins) + 1) where bin != common {
      let byte = Int(feature.first_byte) + bin - (bin > common ? 1 : 0)
      words[byte >> 6] &= ~(1 << UInt64(byte & 63))
      if goesLeft(bin) { words[byte >> 6] |= 1 << UInt64(byte & 63) }
    }
    moved.members = (words[0], words[1], words[2], words[3])
    return moved
  }

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
            numbers: values.baseAddress, rows: values.count, bins: target, bounds: bounds.baseAddress,
            bound_count: bounds.count, bin_of_code: column.isCategorical ? binOfCode.baseAddress : nil,
            code_count: binOfCode.count, other_bin: UInt8(truncatingIfNeeded: column.count + 1),
            missing_bin: UInt8(column.count))
          Boosting.run(job, parts: Boosting.chunks(values.count), threads: threads, nt_boost_bin_task)
        }
      }
    }
  }
}

/// Which features stand in which column.
///
/// Features of numbers that are the same in most rows, as columns of 0 and 1 are, share a column if no row differs from
/// the most common number in two of them. It is the exclusive feature bundling of LightGBM (Ke et al., 2017) without
/// conflicts: the trees are those of the features apart.
private struct ColumnSharing {
  /// Features of each column.
  private(set) var columns: [[Int]]
  var isTrivial: Bool { columns.allSatisfy { $0.count == 1 } }

  /// Most rows, as one in so many, in which a feature that shares may differ from its common bin.
  private static let rareOneIn = 5
  /// Columns that a feature is tried with: the last ones, which have most room.
  private static let triesMax = 64

  /// Writes the common bin and the first byte of features that share.
  init(
    _ features: AlignedBuffer<nt_boost_feature>, _ bins: AlignedBuffer<UInt8>, rows: Int, features count: Int,
    isOn: Bool
  ) {
    columns = (0..<count).map { [$0] }
    guard isOn, count > 1, rows > 0 else { return }
    var sparse: [(feature: Int, rows: Int)] = []
    for feature in 0..<count where !features.start[feature].is_categorical {
      var counts = [Int](repeating: 0, count: Int(NT_BOOST_BINS_MAX))
      for byte in UnsafeBufferPointer(start: bins.start + feature * rows, count: rows) { counts[Int(byte)] += 1 }
      let common = counts.indices.max { counts[$0] < counts[$1] } ?? 0
      guard (rows - counts[common]) * Self.rareOneIn <= rows else { continue }
      features.start[feature].common_bin = UInt16(common)
      sparse.append((feature, rows - counts[common]))
    }
    sparse.sort { ($1.rows, $0.feature) < ($0.rows, $1.feature) }
    var shared: [(members: [Int], bytes: Int, rows: [UInt64])] = []
    for (feature, _) in sparse {
      let own = Self.rows(of: features.start[feature], bins.start + feature * rows, rows)
      let bytes = nt_boost_all_bins(features.start + feature) - 1
      let place = shared.indices.suffix(Self.triesMax).first { place in
        shared[place].bytes + bytes <= Int(NT_BOOST_BINS_MAX)
          && !zip(shared[place].rows, own).contains { $0 & $1 != 0 }
      }
      if let place {
        features.start[feature].first_byte = UInt16(shared[place].bytes)
        shared[place].members.append(feature)
        shared[place].bytes += bytes
        for word in own.indices { shared[place].rows[word] |= own[word] }
      } else {
        features.start[feature].first_byte = 1
        shared.append(([feature], 1 + bytes, own))
      }
    }
    let columnsShared = shared.filter { $0.members.count > 1 }.map { $0.members.sorted() }
    let sharing = Set(columnsShared.joined())
    columns = (columns.filter { !sharing.contains($0[0]) } + columnsShared).sorted { $0[0] < $1[0] }
  }

  /// A bit for each row that differs from the common bin.
  private static func rows(
    of feature: nt_boost_feature, _ bins: UnsafePointer<UInt8>, _ rows: Int
  ) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: (rows + 63) / 64)
    words.withUnsafeMutableBufferPointer { words in
      for row in 0..<rows where UInt16(bins[row]) != feature.common_bin { words[row >> 6] |= 1 << UInt64(row & 63) }
    }
    return words
  }

  /// The bytes of the columns, from those of the features.
  func columns(
    _ features: AlignedBuffer<nt_boost_feature>, _ bins: AlignedBuffer<UInt8>, rows: Int, threads: Int
  ) -> AlignedBuffer<UInt8> {
    let found = AlignedBuffer<UInt8>(count: columns.count * rows)
    for (column, members) in columns.enumerated() {
      let target = found.start + column * rows
      guard members.count > 1 else {
        target.update(from: bins.start + members[0] * rows, count: rows)
        continue
      }
      for feature in members {
        let job = nt_boost_share_column_job(
          feature: features.start + feature, bins: bins.start + feature * rows, column: target, rows: rows)
        Boosting.run(job, parts: Boosting.chunks(rows), threads: threads, nt_boost_share_column_task)
      }
    }
    return found
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
