internal import CNeedletailKernels
internal import NeedletailCore
internal import NeedletailSystem

/// An ensemble on ranks, as the kernels' layouts are packed from it: `nt_trees.h` tells what ranks are.
struct TreeForest {
  private(set) var tables: [nt_rank_table] = []
  private(set) var copies: [nt_rank_copy] = []
  /// ``nt_rank_table`` order, `NT_RANK_TABLE_NUMBERS` each. Numbers of an fp32 input are fp32.
  private(set) var thresholds: [Double] = []
  private(set) var columnTables: [UInt32] = []
  /// Per set input: column, index of the set, byte of a missing value.
  private(set) var setInputs: [(column: UInt32, set: Int, missing: UInt8)] = []
  private(set) var hasMissingZeros = false

  /// Sorted by output, in the order of the model within one.
  private(set) var trees: [nt_tree] = []
  private(set) var nodes: [nt_tree_node] = []
  private(set) var rangeFirst: [UInt32] = [0]
  /// Leaves of `width` numbers, in the order of the ensemble.
  let leaves: [Double]
  let width: Int
  let leafCount: Int
  let depthMax: Int
  let leavesMax: Int
  let sumsFloat32: Bool
  private let categories: (columns: UInt32, count: UInt32)

  /// Most bytes of a split until layouts are packed: its node, its columns and children as read, its byte of the ranks,
  /// its place among its column's splits, the keys of its column, sorted and distinct, and a set's entry. Arrays grow by
  /// doubling.
  static let splitBytes =
    MemoryLayout<nt_tree_node>.stride + 3 * MemoryLayout<Int32>.stride + MemoryLayout<Input>.stride
    + MemoryLayout<Int>.stride + 3 * MemoryLayout<UInt64>.stride + 64
  /// Bytes of a tree as read and as packed from.
  static let treeBytes = 2 * MemoryLayout<TreeShape.Tree>.stride + MemoryLayout<nt_tree>.stride

  var rankBytes: Int { tables.count + copies.count + setInputs.count }

  /// - Parameter ensemble: checked.
  init(_ ensemble: TreeEnsemble, columns: Int, outputs: Int, isFloat64: Bool) {
    guard let shape = try? TreeShape(ensemble.nodes) else { preconditionFailure("a checked ensemble has whole trees") }
    leaves = ensemble.leaves
    width = ensemble.leafWidth
    leafCount = shape.leafCount
    depthMax = shape.depthMax
    leavesMax = shape.leavesMax
    sumsFloat32 = ensemble.sums == .float32
    categories = ensemble.categories(shape)
    nodes = shape.columns.indices.map { nt_tree_node(child: (shape.left[$0], shape.right[$0]), input: 0, rank: 0) }
    rank(ensemble, shape, columns: columns, isFloat64: isFloat64)
    sortTrees(ensemble, shape, outputs: outputs)
  }

  // MARK: - ranks

  /// A byte of a split, until the numbers of copies and sets behind the tables are known.
  private enum Input {
    case table(Int)
    case copy(Int)
    case set(Int)
  }

  private mutating func rank(_ ensemble: TreeEnsemble, _ shape: TreeShape, columns: Int, isFloat64: Bool) {
    let splits = shape.columns.count
    var inputs = [Input](repeating: .table(0), count: splits)
    addSets(ensemble, shape, &inputs)

    // Splits of one column that treat zeros alike share their thresholds: groups by counting.
    func group(_ split: Int) -> Int {
      2 * Int(shape.columns[split]) + (!ensemble.missing.isEmpty && ensemble.missing[split].takesZeros ? 1 : 0)
    }
    func isNumeric(_ split: Int) -> Bool { ensemble.sets.isEmpty || ensemble.sets[split] == 0 }
    var ends = [Int](repeating: 0, count: 2 * columns + 1)
    for split in 0..<splits where isNumeric(split) { ends[group(split) + 1] += 1 }
    for index in 1..<ends.count { ends[index] += ends[index - 1] }
    var next = ends
    var grouped = [Int](repeating: 0, count: ends[2 * columns])
    for split in 0..<splits where isNumeric(split) {
      grouped[next[group(split)]] = split
      next[group(split)] += 1
    }
    columnTables.reserveCapacity(columns + 1)
    // A piece for some columns: the columns of large ensembles have thousands of splits each.
    Pieces.forEach(columns, size: 16) { range in
      for column in range {
        columnTables.append(UInt32(tables.count))
        for group in [2 * column, 2 * column + 1] where ends[group] < ends[group + 1] {
          rankGroup(grouped[ends[group]..<ends[group + 1]], column, ensemble, isFloat64, &inputs)
        }
      }
    }
    columnTables.append(UInt32(tables.count))
    for split in 0..<splits {
      switch inputs[split] {
      case .table(let table): nodes[split].input = UInt32(table)
      case .copy(let copy): nodes[split].input = UInt32(tables.count + copy)
      case .set(let set): nodes[split].input = UInt32(tables.count + copies.count + set)
      }
    }
  }

  /// One byte for each column, set and treatment of missing values.
  private mutating func addSets(_ ensemble: TreeEnsemble, _ shape: TreeShape, _ inputs: inout [Input]) {
    struct Key: Hashable {
      var column: UInt32
      var set: UInt32
      var missing: UInt8
    }
    func key(_ split: Int, _ set: UInt32) -> Key {
      let missing: UInt8 =
        switch ensemble.missing.isEmpty ? .left : ensemble.missing[split] {
        case .left, .orZeroLeft: 0
        case .right, .orZeroRight: 1
        case .asZero: ensemble.isMember(0, of: Int(set) - 1) ? 0 : 1
        }
      return Key(column: shape.columns[split], set: set, missing: missing)
    }
    // Those of one column stand together, in the order in which splits first ask for them.
    var known: [Key: Int] = [:]
    var found: [Key] = []
    for (split, set) in ensemble.sets.enumerated() where set > 0 {
      let key = key(split, set)
      if known.updateValue(0, forKey: key) == nil { found.append(key) }
    }
    let order = found.indices.sorted { (found[$0].column, $0) < (found[$1].column, $1) }
    for (index, place) in order.enumerated() {
      known[found[place]] = index
      setInputs.append((found[place].column, Int(found[place].set) - 1, found[place].missing))
    }
    for (split, set) in ensemble.sets.enumerated() where set > 0 {
      inputs[split] = .set(known[key(split, set)] ?? 0)
      nodes[split].rank = 1
    }
  }

  /// The tables of one column: its distinct bounds in ascending order, 254 a table.
  private mutating func rankGroup(
    _ splits: ArraySlice<Int>, _ column: Int, _ ensemble: TreeEnsemble, _ isFloat64: Bool, _ inputs: inout [Input]
  ) {
    let keys = splits.map {
      Self.key(of: Self.bound(ensemble.thresholds[$0], ensemble.comparison, isFloat64: isFloat64))
    }
    var distinct: [UInt64] = []
    for key in keys.sorted() where key != distinct.last { distinct.append(key) }
    var treatments: [TreeEnsemble.Missing] = []
    for split in splits {
      let missing = ensemble.missing.isEmpty ? .left : ensemble.missing[split]
      if !treatments.contains(missing) { treatments.append(missing) }
    }
    let perTable = Int(NT_RANK_THRESHOLDS_MAX)
    let firstTable = tables.count
    let firstCopy = copies.count
    for start in stride(from: 0, to: distinct.count, by: perTable) {
      addTable(distinct[start..<min(start + perTable, distinct.count)], column, treatments)
    }
    for (split, key) in zip(splits, keys) {
      let place = Self.index(of: key, in: distinct)
      let missing = ensemble.missing.isEmpty ? .left : ensemble.missing[split]
      let treatment = treatments.firstIndex(of: missing) ?? 0
      let table = place / perTable
      inputs[split] =
        treatment == 0
        ? .table(firstTable + table) : .copy(firstCopy + table * (treatments.count - 1) + treatment - 1)
      nodes[split].rank = UInt8(place % perTable + 1)
    }
  }

  private mutating func addTable(_ keys: ArraySlice<UInt64>, _ column: Int, _ treatments: [TreeEnsemble.Missing]) {
    let numbers = Int(NT_RANK_TABLE_NUMBERS)
    let first = thresholds.count
    thresholds += [Double](repeating: .nan, count: numbers)
    for (place, key) in keys.enumerated() { thresholds[first + 16 + place] = Self.number(of: key) }
    for pivot in 0..<15 { thresholds[first + pivot] = thresholds[first + 16 + 16 * (pivot + 1)] }
    let zero = UInt8(thresholds[first + 16..<first + numbers].count { $0 <= 0 })
    func byte(_ missing: TreeEnsemble.Missing) -> UInt8 {
      switch missing {
      case .left, .orZeroLeft: 0
      case .right, .orZeroRight: UInt8(NT_RANK_THRESHOLDS_MAX)
      case .asZero: zero
      }
    }
    let table = tables.count
    tables.append(
      nt_rank_table(
        column: UInt32(column), copy_first: UInt32(copies.count),
        copy_end: UInt32(copies.count + treatments.count - 1), missing: byte(treatments[0]), zero: zero,
        zero_is_missing: treatments[0].takesZeros))
    if treatments[0].takesZeros { hasMissingZeros = true }
    for treatment in treatments.dropFirst() {
      copies.append(nt_rank_copy(table: UInt32(table), missing: byte(treatment)))
    }
  }

  /// The least number of the input's type that goes right; NaN where no number does.
  static func bound(_ threshold: Double, _ comparison: TreeEnsemble.Comparison, isFloat64: Bool) -> Double {
    switch (comparison, isFloat64) {
    case (.below, true): return threshold
    case (.atMost, _) where threshold == .infinity: return .nan
    case (.atMost, true): return threshold.nextUp
    case (.below, false):
      let rounded = Float(threshold)
      return Double(Double(rounded) < threshold ? rounded.nextUp : rounded)
    case (.atMost, false):
      let rounded = Float(threshold)
      return Double(Double(rounded) <= threshold ? rounded.nextUp : rounded)
    }
  }

  /// An integer of the same order; NaN, above which no number is, comes last. −0 is 0.
  private static func key(of number: Double) -> UInt64 {
    guard !number.isNaN else { return .max }
    let bits = (number + 0).bitPattern
    return bits >> 63 == 1 ? ~bits : bits | 1 << 63
  }

  private static func number(of key: UInt64) -> Double {
    guard key != .max else { return .nan }
    return Double(bitPattern: key >> 63 == 1 ? key & ~(1 << 63) : ~key)
  }

  private static func index(of key: UInt64, in sorted: [UInt64]) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  // MARK: - trees

  /// Trees of one output stand together, in the order of the model, so that one sum runs over a range of them.
  private mutating func sortTrees(_ ensemble: TreeEnsemble, _ shape: TreeShape, outputs: Int) {
    let ranges = width == outputs ? 1 : outputs
    var ends = [Int](repeating: 0, count: ranges + 1)
    func range(_ tree: Int) -> Int {
      ranges == 1 || ensemble.treeOutputs.isEmpty ? 0 : Int(ensemble.treeOutputs[tree])
    }
    for tree in shape.trees.indices { ends[range(tree) + 1] += 1 }
    for index in 1..<ends.count { ends[index] += ends[index - 1] }
    rangeFirst = ends.map { UInt32($0) }
    var next = ends
    trees = [nt_tree](repeating: nt_tree(), count: shape.trees.count)
    for (index, tree) in shape.trees.enumerated() {
      trees[next[range(index)]] = nt_tree(
        first_node: UInt32(tree.firstSplit), nodes: UInt32(tree.splits), first_leaf: UInt32(tree.firstLeaf),
        leaves: UInt32(tree.leaves), depth: UInt32(tree.depth))
      next[range(index)] += 1
    }
  }

  /// The forest as the kernels see it, valid during `body`.
  ///
  /// - Parameter ranks: what its inputs mean.
  func withKernelForest<Result>(_ ranks: nt_ranks, _ body: (UnsafePointer<nt_forest>) -> Result) -> Result {
    withUnsafePointer(to: ranks) { withKernelForest($0, body) }
  }

  private func withKernelForest<Result>(
    _ ranks: UnsafePointer<nt_ranks>, _ body: (UnsafePointer<nt_forest>) -> Result
  ) -> Result {
    trees.withUnsafeBufferPointer { trees in
      nodes.withUnsafeBufferPointer { nodes in
        leaves.withUnsafeBufferPointer { leaves in
          rangeFirst.withUnsafeBufferPointer { rangeFirst in
            var forest = nt_forest(
              trees: trees.baseAddress, nodes: nodes.baseAddress, leaves: leaves.baseAddress,
              range_first: rangeFirst.baseAddress, tree_count: UInt32(trees.count), node_count: UInt32(nodes.count),
              leaf_count: UInt32(leafCount), range_count: UInt32(rangeFirst.count - 1), width: UInt32(width),
              depth_max: UInt32(depthMax), leaves_max: UInt32(leavesMax), rank_bytes: UInt32(rankBytes),
              set_bytes: UInt32(setInputs.count), code_columns: categories.columns,
              categories: categories.count, sums_f32: sumsFloat32, ranks: ranks)
            return body(&forest)
          }
        }
      }
    }
  }
}
