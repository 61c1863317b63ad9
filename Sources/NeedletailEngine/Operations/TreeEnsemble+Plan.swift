internal import CNeedletailKernels
internal import NeedletailCore
internal import NeedletailSystem

extension TreeEnsemble {
  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let name = plan.graph.nodes[node].name
    let (type, outputs) = (plan.graph.values[input].type, plan.graph.values[output].columns)
    let isFloat64 = type.element == .float64
    let forest = TreeForest(self, columns: type.columns, outputs: outputs, isFloat64: isFloat64)
    var kernel = nt_trees()
    kernel.ranks = try ranks(of: forest, columns: type.columns, isFloat64: isFloat64, in: plan.storage, for: name)
    kernel.rank = nt_rank_rows(plan.isa.kernelSet)
    if !start.isEmpty { kernel.start = try plan.storage.copy(start, for: name) }
    if !bias.isEmpty { kernel.bias = try plan.storage.copy(bias, for: name) }
    kernel.divisor = divisor
    kernel.range_count = UInt32(forest.rangeFirst.count - 1)
    kernel.width = UInt32(leafWidth)
    kernel.sums_f32 = sums == .float32

    var choice = try TreeLayouts(forest, kernel.ranks, isa: plan.isa, for: name)
    let rowsMax = plan.options.extentMax.rows
    choice.time(kernel, outputs: outputs, rowsMax: rowsMax)
    let chosen = try choice.choose(rowsMax: rowsMax, in: plan.storage, for: name)
    withUnsafeMutableBytes(of: &kernel.chosen) { bytes in
      let choices = bytes.bindMemory(to: nt_trees_choice.self)
      for bucket in choices.indices { choices[bucket] = chosen.byBucket[bucket] }
    }
    let scratch = plan.addBuffer(bytes: chosen.scratchBytes, per: type.domain)
    var step = try plan.step(
      node, nt_trees_step(plan.isa.kernelSet), kernel, reading: [input], writing: [output], words: words,
      kernel: "trees \(chosen.names.joined(separator: " "))")
    step.buffers.append(scratch)
    step.weightBytes = chosen.bytes
    plan.add(step)
  }

  /// Tables, copies and sets, in memory of the plan.
  func ranks(
    of forest: TreeForest, columns: Int, isFloat64: Bool, in storage: PlanStorage, for name: String
  ) throws(PlanError) -> nt_ranks {
    var ranks = nt_ranks()
    ranks.tables = try storage.copy(forest.tables, for: name)
    ranks.copies = try storage.copy(forest.copies, for: name)
    ranks.column_tables = try storage.copy(forest.columnTables, for: name)
    ranks.thresholds =
      isFloat64
      ? UnsafeRawPointer(try storage.copy(forest.thresholds, for: name))
      : UnsafeRawPointer(try storage.copy(forest.thresholds.map { Float($0) }, for: name))
    let bits = try storage.copy(setBits, for: name)
    var firstWords: [Int] = []
    var words = 0
    for count in setWords {
      firstWords.append(words)
      words += Int(count)
    }
    let sets = forest.setInputs.map { input in
      nt_rank_set(
        bits: bits + firstWords[input.set], bit_count: setWords[input.set] * 32, column: input.column,
        missing: input.missing)
    }
    ranks.sets = try storage.copy(sets, for: name)
    ranks.columns = UInt32(columns)
    ranks.table_count = UInt32(forest.tables.count)
    ranks.copy_count = UInt32(forest.copies.count)
    ranks.set_count = UInt32(sets.count)
    let codes = try codes(of: sets, in: ranks, storage, for: name)
    ranks.codes = try storage.copy(codes, for: name)
    ranks.codes_count = UInt32(codes.count)
    ranks.is_f64 = isFloat64
    ranks.flushes_tiny = flushesTiny
    ranks.has_missing_zeros = forest.hasMissingZeros
    return ranks
  }

  /// Most bytes of all tables that sets of categories are looked up in: those of 15,000 sets of 256 categories.
  private static let codeBytesMax = 4 << 20

  /// The sets of each column, with a table where it fits.
  private func codes(
    of sets: [nt_rank_set], in ranks: nt_ranks, _ storage: PlanStorage, for name: String
  ) throws(PlanError) -> [nt_rank_codes] {
    var groups: [nt_rank_codes] = []
    for (index, set) in sets.enumerated() {
      if groups.last?.column != set.column {
        groups.append(
          nt_rank_codes(column: set.column, first_set: UInt32(index), sets: 0, code_count: 0, bytes: nil))
      }
      groups[groups.count - 1].sets += 1
      groups[groups.count - 1].code_count = max(groups[groups.count - 1].code_count, set.bit_count)
    }
    var left = Self.codeBytesMax
    for index in groups.indices {
      let bytes = nt_rank_codes_bytes(&groups[index])
      guard bytes <= left else { continue }
      left -= bytes
      let table = try storage.allocate(bytes: bytes, for: name).bindMemory(to: UInt8.self, capacity: bytes)
      withUnsafePointer(to: ranks) { nt_rank_fill_codes($0, &groups[index], table) }
      groups[index].bytes = UnsafePointer(table)
    }
    return groups
  }

  /// An upper bound by counts alone, because it is asked for before any tree is looked at closely: every layout that a
  /// CPU might choose, and a table for each column and each 254 splits.
  public func packedBytes(_ context: OperationContext) -> Int {
    guard let shape = try? TreeShape(nodes) else { return 0 }
    let splits = shape.columns.count
    let tables = Self.tableCount(shape)
    let numberBytes = context.inputs[0].element == .float64 ? 8 : 4
    let tableBytes = Int(NT_RANK_TABLE_NUMBERS) * numberBytes + MemoryLayout<nt_rank_table>.stride
    let rankBytes = min(3 * tables + splits, Int(UInt32.max))
    let setBytes = MemoryLayout<nt_rank_set>.stride + MemoryLayout<nt_rank_codes>.stride + Int(NT_ALIGNMENT)
    let codeBytes = min(Self.codeBytesMax, splits * (32 * Int(setWords.max() ?? 0) + 2))
    return tables * tableBytes + rankBytes * MemoryLayout<nt_rank_copy>.stride
      + (sets.isEmpty ? 0 : splits * setBytes + codeBytes) + 4 * setBits.count
      + 4 * context.inputs[0].columns + 8 * (start.count + bias.count) + layoutBytes(shape, context)
  }

  /// The forest on ranks, all layouts until one is chosen, and rows to time them with.
  public func loweringBytes(_ context: OperationContext) -> Int {
    guard let shape = try? TreeShape(nodes) else { return 0 }
    let splits = shape.columns.count
    let thresholdBytes = Self.tableCount(shape) * Int(NT_RANK_TABLE_NUMBERS) * (MemoryLayout<Double>.stride + 4)
    return splits * TreeForest.splitBytes + shape.trees.count * TreeForest.treeBytes + thresholdBytes
      + layoutBytes(shape, context) + TreeLayouts.timingBytesMax
  }

  /// Most tables of one column's ranks each: its splits may treat zeros in two ways, and a table has 254 of them.
  private static func tableCount(_ shape: TreeShape) -> Int {
    let splits = shape.columns.count
    return min(splits, 2 * Set(shape.columns).count) + splits / Int(NT_RANK_THRESHOLDS_MAX)
  }

  /// Columns that splits by sets ask about, and what these tell apart: the codes of their largest set, other values and
  /// missing ones. An ensemble that is not checked yet may name sets that it does not have.
  func categories(_ shape: TreeShape) -> (columns: UInt32, count: UInt32) {
    var words: [UInt32: UInt32] = [:]
    for (column, set) in zip(shape.columns, sets) where set > 0 && Int(set) <= setWords.count {
      words[column] = max(words[column] ?? 0, setWords[Int(set) - 1])
    }
    return (UInt32(words.count), UInt32(clamping: words.values.reduce(0) { $0 + 32 * Int($1) + 2 }))
  }

  /// Most bytes of all layouts that a CPU might choose from.
  private func layoutBytes(_ shape: TreeShape, _ context: OperationContext) -> Int {
    var forest = nt_forest()
    forest.tree_count = UInt32(shape.trees.count)
    forest.node_count = UInt32(shape.columns.count)
    forest.leaf_count = UInt32(shape.leafCount)
    forest.range_count = UInt32(leafWidth == context.outputs[0].columns ? 1 : context.outputs[0].columns)
    forest.width = UInt32(leafWidth)
    forest.depth_max = UInt32(shape.depthMax)
    forest.leaves_max = UInt32(shape.leavesMax)
    forest.sums_f32 = sums == .float32
    (forest.code_columns, forest.categories) = categories(shape)
    // Some layouts take few ranked bytes only, and one grows where they are many: both are asked for.
    func bytesMax(_ layout: UnsafePointer<nt_trees_layout>) -> Int {
      let sizes = [1, UInt32(UInt16.max)].map { rankBytes in
        forest.rank_bytes = rankBytes
        return layout.pointee.bytes(&forest)
      }
      return MemoryPlanner.aligned(max(1, sizes.max() ?? 0))
    }
    let layouts = InstructionSet.supported.map { isa in
      TreeLayouts.candidates(isa).reduce(0) { $0 + bytesMax($1) }
    }
    return layouts.max() ?? 0
  }
}

/// The layouts of one forest: packed, timed and chosen from, while a plan is compiled.
struct TreeLayouts {
  struct Choice {
    var byBucket: [nt_trees_choice]
    /// Names of those chosen, in the order of the numbers of rows.
    var names: [String]
    var bytes: Int
    var scratchBytes: Int
  }

  private struct Candidate {
    var layout: UnsafePointer<nt_trees_layout>
    var bytes: Int
    var scratchBytes: Int
    var packed: UnsafeMutableRawPointer
    /// Microseconds by number of rows, ascending in rows.
    var timings: [(rows: Int, microseconds: Double)] = []

    /// The time of a number of rows: between timings on a line, behind the last in proportion, below the first the first.
    func microseconds(_ rows: Int) -> Double {
      guard let last = timings.last else { return .infinity }
      guard let upper = timings.firstIndex(where: { $0.rows >= rows }) else {
        return last.microseconds * Double(rows) / Double(last.rows)
      }
      guard upper > 0 else { return timings[0].microseconds }
      let (from, to) = (timings[upper - 1], timings[upper])
      let part = Double(rows - from.rows) / Double(to.rows - from.rows)
      return from.microseconds + part * (to.microseconds - from.microseconds)
    }
  }

  /// A trial repeats within this; a layout that took ten times the best one's time is not timed again.
  private static let measureBudget: Duration = .microseconds(60)
  private static let hopeless = 10.0
  /// Inputs and outputs of a trial: a row may have a million columns.
  static let timingBytesMax = 16 << 20

  private var candidates: [Candidate] = []
  private let storage = PlanStorage()
  private let forest: TreeForest
  private let ranks: nt_ranks

  /// Bytes of all layouts.
  var packedBytes: Int { storage.bytes }

  static func candidates(_ isa: InstructionSet) -> [UnsafePointer<nt_trees_layout>] {
    var layouts = [UnsafePointer<nt_trees_layout>?](repeating: nil, count: Int(NT_TREES_LAYOUTS_MAX))
    let count = nt_trees_layouts(isa.kernelSet, &layouts)
    return layouts.prefix(count).compactMap { $0 }
  }

  /// Packs every layout that suits the forest.
  init(_ forest: TreeForest, _ ranks: nt_ranks, isa: InstructionSet, for name: String) throws(PlanError) {
    self.forest = forest
    self.ranks = ranks
    let layouts = Self.candidates(isa)
    var failure: PlanError?
    Pieces.whileTrue(layouts.count, size: 1) { range in
      do throws(PlanError) {
        try pack(layouts[range.lowerBound], for: name)
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
  }

  private mutating func pack(_ layout: UnsafePointer<nt_trees_layout>, for name: String) throws(PlanError) {
    let (bytes, scratch) = forest.withKernelForest(ranks) { forest in
      (layout.pointee.bytes(forest), layout.pointee.scratch_bytes(forest))
    }
    guard bytes > 0 else { return }
    let packed = try storage.allocate(bytes: bytes, for: name)
    let fits = forest.withKernelForest(ranks) { layout.pointee.pack($0, packed) }
    guard fits else { return }
    candidates.append(Candidate(layout: layout, bytes: bytes, scratchBytes: scratch, packed: packed))
  }

  /// The numbers of rows that tell a layout apart: one and several for a layout of single rows, a part of a block and
  /// the whole for any other.
  private static func rowsTimed(block: Int) -> [Int] {
    switch block {
    case 1: [1, 8]
    case ...64: [8, block]
    default: [64, block]
    }
  }

  /// Times each candidate, from few rows to many. A layout whose block is larger than any run, or does not fit the
  /// timing's memory, stays untimed and is not chosen.
  mutating func time(_ kernel: nt_trees, outputs: Int, rowsMax: Int) {
    guard candidates.count > 1 else { return }
    let rowBytes = Int(kernel.ranks.columns) * (kernel.ranks.is_f64 ? 8 : 4) + 4 * outputs
    let rowsFitting = max(1, min(2 * rowsMax, Self.timingBytesMax / rowBytes))
    let timed = candidates.map { candidate in
      Self.rowsTimed(block: Int(candidate.layout.pointee.block_rows)).filter { $0 <= rowsFitting }
    }
    let stages = Set(timed.joined()).sorted()
    guard let most = stages.last else { return }
    var input = timingInput(kernel, rows: most)
    var output = [Float](repeating: 0, count: most * outputs)
    let scratchBytes = candidates.map(\.scratchBytes).max() ?? 0
    guard let scratch = AlignedMemory.allocate(bytes: scratchBytes) else { return }
    defer { AlignedMemory.free(scratch, bytes: scratchBytes) }
    withUnsafePointer(to: kernel) { kernel in
      input.withUnsafeMutableBytes { x in
        output.withUnsafeMutableBufferPointer { y in
          for rows in stages {
            var best = candidates.map { $0.microseconds(rows) }.min() ?? .infinity
            Pieces.forEach(candidates.count, size: 1) { range in
              let index = range.lowerBound
              guard timed[index].contains(rows) else { return }
              let candidate = candidates[index]
              let shortest = candidate.timings.first?.microseconds ?? 0
              guard shortest < Self.hopeless * best else { return }
              let taken = Stopwatch.best(within: Self.measureBudget) {
                candidate.layout.pointee.run(kernel, candidate.packed, x.baseAddress, rows, y.baseAddress, scratch)
              }
              candidates[index].timings.append((rows, taken))
              best = min(best, taken)
            }
          }
        }
      }
    }
  }

  /// Rows of thresholds of their columns, so that ranks are as varied as in use. Nothing branches on them, but they
  /// should not all fall into one place of a table.
  private func timingInput(_ kernel: nt_trees, rows: Int) -> [UInt64] {
    let columns = Int(kernel.ranks.columns)
    let isFloat64 = kernel.ranks.is_f64
    var words = [UInt64](repeating: 0, count: (rows * columns * (isFloat64 ? 8 : 4) + 7) / 8)
    var state: UInt64 = 1
    words.withUnsafeMutableBytes { bytes in
      for row in 0..<rows {
        for column in 0..<columns {
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          let (first, end) = (forest.columnTables[column], forest.columnTables[column + 1])
          guard first < end else { continue }
          let place = Int(first) * Int(NT_RANK_TABLE_NUMBERS) + 16 + Int(state >> 56)
          let number = forest.thresholds[place]
          let value = number.isNaN ? forest.thresholds[Int(first) * Int(NT_RANK_TABLE_NUMBERS) + 16] : number
          let index = row * columns + column
          if isFloat64 {
            bytes.storeBytes(of: value, toByteOffset: 8 * index, as: Double.self)
          } else {
            bytes.storeBytes(of: Float(value), toByteOffset: 4 * index, as: Float.self)
          }
        }
      }
    }
    return words
  }

  /// The fastest for each number of rows, moved into the plan.
  func choose(rowsMax: Int, in plan: PlanStorage, for name: String) throws(PlanError) -> Choice {
    let bucketRows = withUnsafeBytes(of: nt_trees_bucket_rows) { Array($0.bindMemory(to: UInt32.self)) }
    var moved: [Int: UnsafeMutableRawPointer] = [:]
    var choice = Choice(byBucket: [], names: [], bytes: 0, scratchBytes: 0)
    var last = 0
    for rows in bucketRows {
      // What no run reaches keeps the choice of the largest that one does.
      if choice.byBucket.isEmpty || Int(rows) <= rowsMax {
        let times = candidates.map { $0.microseconds(Int(rows)) }
        last = times.indices.min { times[$0] < times[$1] } ?? 0
      }
      let candidate = candidates[last]
      let packed: UnsafeMutableRawPointer
      if let known = moved[last] {
        packed = known
      } else {
        packed = try plan.allocate(bytes: candidate.bytes, for: name)
        Pieces.forEach(candidate.bytes) { range in
          (packed + range.lowerBound).copyMemory(from: candidate.packed + range.lowerBound, byteCount: range.count)
        }
        moved[last] = packed
        choice.names.append(String(cString: candidate.layout.pointee.name))
        choice.bytes += candidate.bytes
        choice.scratchBytes = max(choice.scratchBytes, candidate.scratchBytes)
      }
      choice.byBucket.append(nt_trees_choice(run: candidate.layout.pointee.run, packed: packed))
    }
    return choice
  }
}
