internal import CNeedletailKernels
internal import NeedletailCore

/// Times a packed layer, on the thread that compiles the plan, for the decision whether the pool's threads share it.
///
/// A fixed number of multiply-adds would not do: a core does 2 G of them a second without vector instructions and 350 G
/// with AVX-512 VNNI, and waking a helper takes 5 µs on one machine and 50 on another.
enum LayerTiming {
  /// Weights of the slice that is timed: beyond most caches of one core, so that a large layer is timed as it runs, from
  /// the cache that all share.
  private static let sliceBytes = 4 << 20
  private static let sliceColumnsMax = 32 << 10
  /// Rows of the second measurement: the difference to one row is what each further row takes.
  private static let rowsMany = 8
  fileprivate static let budget: Duration = .microseconds(20)

  /// Bounds of what a part must take to be worth a thread, in nanoseconds. A machine that was busy when the pool was
  /// started says little about the time that it takes to wake a helper.
  static let partNanosecondsRange: ClosedRange<Float> = 5_000...100_000

  /// What a part must take to be worth a thread; 0: this process has no helpers.
  static func partNanosecondsMin(_ options: PlanOptions) -> Float {
    if let fixed = options.sharedPartNanosecondsMin { return Float(fixed) }
    let wake = nt_pool_wake_nanoseconds()
    guard wake > 0 else { return 0 }
    return min(max(Float(wake), partNanosecondsRange.lowerBound), partNanosecondsRange.upperBound)
  }

  static func int8(_ layer: nt_dense_s8, _ options: PlanOptions) throws(PlanError) -> nt_dense_time {
    guard let gemm = layer.kernels.pointee.gemm else { return nt_dense_time() }
    var slice: Int8Slice?
    return try time(Int(layer.columns), options) { rows throws(PlanError) in
      if slice == nil { slice = try Int8Slice(layer, rowsMax: rowsMany) }
      return slice?.microseconds(gemm, rows: rows) ?? 0
    }
  }

  static func float32(_ layer: nt_dense_f32, _ options: PlanOptions) throws(PlanError) -> nt_dense_time {
    guard let gemm = layer.kernels.pointee.gemm else { return nt_dense_time() }
    let (columns, depth) = (Int(layer.columns), Int(layer.depth))
    let (timed, scale) = slice(columns, weightBytes: nt_f32_packed_bytes(columns, depth))
    let memory = PlanStorage()
    defer { withExtendedLifetime(memory) {} }
    var args = nt_f32_gemm_args()
    args.weights = layer.weights
    (args.columns, args.depth, args.panel_end) = (timed, depth, nt_panel_count(timed))
    args.activation = layer.activation
    return try time(columns, options) { rows throws(PlanError) in
      if args.a == nil {
        args.a = UnsafePointer(try floats(rowsMany * depth, in: memory))
        args.out = try floats(rowsMany * timed, in: memory)
      }
      args.rows = rows
      return scale * Stopwatch.best(within: budget) { gemm(&args) }
    }
  }

  /// Rows from which the pool's threads share a layer; nil: never.
  static func sharedFromItems(_ time: nt_dense_time) -> Int? {
    let wanted = 2 * time.part_min
    guard wanted > 0 else { return nil }
    if time.first >= wanted { return 1 }
    guard time.next > 0 else { return nil }
    let items = 1 + Double((wanted - time.first) / time.next).rounded(.up)
    guard items <= Double(NT_PLAN_ITEMS_MAX) else { return nil }
    // Rounding may have left the last item out.
    var time = time
    return [Int(items), Int(items) + 1].first { nt_dense_threads(&time, $0) > 1 }
  }

  /// The columns of a layer that are timed, and how many times as long the whole layer takes.
  fileprivate static func slice(_ columns: Int, weightBytes: Int) -> (columns: Int, scale: Double) {
    let panels = nt_panel_count(columns)
    let timed = max(1, min(panels, sliceBytes / (weightBytes / panels), sliceColumnsMax / Int(NT_PANEL_COLUMNS)))
    return (min(columns, timed * Int(NT_PANEL_COLUMNS)), Double(panels) / Double(timed))
  }

  fileprivate static func floats(
    _ count: Int, in memory: PlanStorage
  ) throws(PlanError) -> UnsafeMutablePointer<Float> {
    try memory.allocate(bytes: 4 * count, for: nil).bindMemory(to: Float.self, capacity: count)
  }

  /// - Parameter microseconds: of so many rows.
  private static func time(
    _ columns: Int, _ options: PlanOptions, _ microseconds: (_ rows: Int) throws(PlanError) -> Double
  ) throws(PlanError) -> nt_dense_time {
    let part = partNanosecondsMin(options)
    guard part > 0, nt_panel_count(columns) > 1 else { return nt_dense_time() }
    let first = Float(1000 * (try microseconds(1)))
    // No number of rows takes more than each of them alone.
    guard first * Float(options.extentMax.units) >= 2 * part else { return nt_dense_time() }
    let next = max(0, (Float(1000 * (try microseconds(rowsMany))) - first) / Float(rowsMany - 1))
    return nt_dense_time(first: first, next: next, part_min: part)
  }
}

/// The first columns of a packed int8 layer, and made-up rows to run them on: speed does not depend on what is in them.
struct Int8Slice {
  private let memory = PlanStorage()
  private let scale: Double
  private var args = nt_s8_gemm_args()

  init(_ layer: nt_dense_s8, rowsMax: Int) throws(PlanError) {
    let (columns, depth) = (Int(layer.columns), Int(layer.depth))
    let (timed, scale) = LayerTiming.slice(columns, weightBytes: nt_s8_packed_bytes(columns, depth))
    self.scale = scale
    args.a_stride = nt_s8_row_stride(depth)
    let bytes = rowsMax * args.a_stride
    args.a = UnsafePointer(try memory.allocate(bytes: bytes, for: nil).bindMemory(to: Int8.self, capacity: bytes))
    args.row_scales = UnsafePointer(try LayerTiming.floats(rowsMax, in: memory))
    args.weights = layer.weights
    (args.columns, args.depth, args.panel_end) = (timed, depth, nt_panel_count(timed))
    args.out = try LayerTiming.floats(rowsMax * timed, in: memory)
    args.activation = layer.activation
    args.a_is_nonnegative = layer.input_is_nonnegative
  }

  /// Microseconds of the whole layer by one product.
  mutating func microseconds(_ gemm: nt_s8_gemm, rows: Int) -> Double {
    defer { withExtendedLifetime(memory) {} }
    args.rows = rows
    return scale * Stopwatch.best(within: LayerTiming.budget) { gemm(&args) }
  }
}

extension ChoosableLayer {
  /// Microseconds of some rows by one of its ways, without the pool.
  ///
  /// - Throws: if there is no memory for rows to time with.
  func microseconds(way: Int, rows: Int) throws(PlanError) -> Double {
    switch self {
    case .int8(let layer):
      var slice = try Int8Slice(layer.pointee, rowsMax: rows)
      return slice.microseconds(Self.ways(of: layer.pointee)[way], rows: rows)
    case .float32(let layer):
      return try Self.microseconds(layer.pointee, Self.ways(of: layer.pointee)[way], rows: rows)
    }
  }

  /// Weights of the slice of an fp32 layer that is timed: 16 MiB, and 8 MiB as bf16, are both beyond what a core has to
  /// itself, and where weights come from is what the choice is about.
  private static let sliceWeights = 4 << 20

  /// The step is timed, for rounding rows and the library's packing belong to their ways.
  private static func microseconds(_ layer: nt_dense_f32, _ way: nt_f32_way, rows: Int) throws(PlanError) -> Double {
    let memory = PlanStorage()
    defer { withExtendedLifetime(memory) {} }
    var layer = layer
    for bucket in 0..<Int(NT_DENSE_BUCKETS) { nt_dense_f32_choose(&layer, bucket, way) }
    let (panel, depth) = (Int(NT_PANEL_COLUMNS), Int(layer.depth))
    let columns = min(Int(layer.columns), max(1, sliceWeights / depth / panel) * panel)
    let scale = Double(layer.columns) / Double(columns)
    layer.columns = UInt32(columns)
    let sizes = [rows * depth, rows * columns, rows, rows * nt_bf16_row_elements(depth)].map {
      MemoryPlanner.aligned(4 * $0)
    }
    let bytes = sizes.reduce(0, +)
    let arena = try memory.allocate(bytes: bytes, for: nil).bindMemory(to: UInt8.self, capacity: bytes)
    var offsets = [0]
    for size in sizes { offsets.append(offsets[offsets.count - 1] + size) }
    if !layer.gathers_magnitudes { offsets.remove(at: 2) }
    return offsets.withUnsafeBufferPointer { offsets in
      var call = nt_call()
      (call.arena, call.offsets, call.items, call.shares) = (arena, offsets.baseAddress, rows, false)
      return scale * Stopwatch.best(within: LayerTiming.budget) { nt_dense_f32_step(&layer, &call) }
    }
  }
}
