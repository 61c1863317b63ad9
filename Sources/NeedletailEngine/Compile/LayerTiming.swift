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
  /// Rows of the second measurement: the difference to one row is what each further row takes.
  private static let rowsMany = 8
  private static let budget: Duration = .microseconds(50)

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
    let (columns, depth) = (Int(layer.columns), Int(layer.depth))
    let (stride, memory) = (nt_s8_row_stride(depth), PlanStorage())
    let rows = try memory.allocate(bytes: rowsMany * stride, for: nil)
    let scales = try memory.allocate(bytes: 4 * rowsMany, for: nil)
    var args = nt_s8_gemm_args()
    args.a = UnsafePointer(rows.bindMemory(to: Int8.self, capacity: rowsMany * stride))
    args.a_stride = stride
    args.row_scales = UnsafePointer(scales.bindMemory(to: Float.self, capacity: rowsMany))
    args.weights = layer.weights
    (args.columns, args.depth) = (columns, depth)
    args.out = try output(columns, in: memory)
    args.activation = layer.activation
    args.a_is_nonnegative = layer.input_is_nonnegative
    let gemm = layer.kernels.pointee.gemm
    defer { withExtendedLifetime(memory) {} }
    return time(columns, weightBytes: nt_s8_packed_bytes(columns, depth), options) { count, panels in
      (args.rows, args.panel_end) = (count, panels)
      gemm?(&args)
    }
  }

  static func float32(_ layer: nt_dense_f32, _ options: PlanOptions) throws(PlanError) -> nt_dense_time {
    let (columns, depth) = (Int(layer.columns), Int(layer.depth))
    let memory = PlanStorage()
    let rows = try memory.allocate(bytes: 4 * rowsMany * depth, for: nil)
    var args = nt_f32_gemm_args()
    args.a = UnsafePointer(rows.bindMemory(to: Float.self, capacity: rowsMany * depth))
    args.weights = layer.weights
    (args.columns, args.depth) = (columns, depth)
    args.out = try output(columns, in: memory)
    args.activation = layer.activation
    let gemm = layer.kernels.pointee.gemm
    defer { withExtendedLifetime(memory) {} }
    return time(columns, weightBytes: nt_f32_packed_bytes(columns, depth), options) { count, panels in
      (args.rows, args.panel_end) = (count, panels)
      gemm?(&args)
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

  private static func output(_ columns: Int, in memory: PlanStorage) throws(PlanError) -> UnsafeMutablePointer<Float> {
    let count = rowsMany * columns
    return try memory.allocate(bytes: 4 * count, for: nil).bindMemory(to: Float.self, capacity: count)
  }

  /// - Parameter run: computes so many rows of so many panels.
  private static func time(
    _ columns: Int, weightBytes: Int, _ options: PlanOptions, _ run: (_ rows: Int, _ panels: Int) -> Void
  ) -> nt_dense_time {
    let part = partNanosecondsMin(options)
    let panels = nt_panel_count(columns)
    guard part > 0, panels > 1 else { return nt_dense_time() }
    let slice = max(1, min(panels, sliceBytes / (weightBytes / panels)))
    let scale = Float(1000) * Float(panels) / Float(slice)
    func nanoseconds(_ rows: Int) -> Float { scale * Float(Stopwatch.best(within: budget) { run(rows, slice) }) }
    let first = nanoseconds(1)
    // No number of rows takes more than each of them alone.
    guard first * Float(options.extentMax.units) >= 2 * part else { return nt_dense_time() }
    let next = max(0, (nanoseconds(rowsMany) - first) / Float(rowsMany - 1))
    return nt_dense_time(first: first, next: next, part_min: part)
  }
}
