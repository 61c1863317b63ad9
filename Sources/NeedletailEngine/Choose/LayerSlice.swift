internal import CNeedletailKernels

/// Some columns of a layer, with made-up weights: speed does not depend on them.
final class LayerSlice {
  let columns: Int
  private let depth: Int
  private let storage: PlanStorage
  private let input, output, scales: UnsafeMutablePointer<Float>
  private let quantised: UnsafeMutablePointer<Int8>
  private let weights: [Int8]

  init(columns: Int, depth: Int, rowsMax: Int) throws(PlanError) {
    let storage = PlanStorage()
    func floats(_ count: Int) throws(PlanError) -> UnsafeMutablePointer<Float> {
      try storage.allocate(bytes: 4 * count, for: nil).bindMemory(to: Float.self, capacity: count)
    }
    self.storage = storage
    self.columns = columns
    self.depth = depth
    input = try floats(rowsMax * depth)
    for index in 0..<rowsMax * depth { input[index] = Float(index % 251) - 125 }
    output = try floats(rowsMax * columns)
    scales = try floats(rowsMax)
    let bytes = rowsMax * nt_s8_row_stride(depth)
    quantised = try storage.allocate(bytes: bytes, for: nil).bindMemory(to: Int8.self, capacity: bytes)
    weights = (0..<columns * depth).map { Int8(truncatingIfNeeded: $0 % 255 - 127) }
  }

  /// Microseconds of one run: the best of those that fit the budget.
  /// - Parameter quantises: whether an int8 run begins with its input's quantisation.
  func time(
    rows: Int, isInt8: Bool, quantises: Bool = true, isa: InstructionSet, for budget: Duration
  ) throws(PlanError) -> Double {
    guard let kernels = nt_kernel_table_for(isa.kernelSet) else { throw PlanError("no \(isa.rawValue) kernels") }
    let packed = PlanStorage()
    defer { withExtendedLifetime((self, packed)) {} }
    if isInt8 {
      let memory = try packed.allocate(bytes: nt_s8_packed_bytes(columns, depth), for: nil)
      kernels.pointee.s8_pack(weights, [Float](repeating: 0.01, count: columns), nil, columns, depth, memory)
      var args = nt_s8_gemm_args()
      args.a = UnsafePointer(quantised)
      args.a_stride = nt_s8_row_stride(depth)
      args.row_scales = UnsafePointer(scales)
      args.weights = UnsafeRawPointer(memory)
      (args.rows, args.columns, args.depth) = (rows, columns, depth)
      args.panel_end = nt_panel_count(columns)
      args.out = output
      kernels.pointee.quantise(input, rows, depth, quantised, args.a_stride, scales)
      return Stopwatch.best(within: budget) {
        if quantises { kernels.pointee.quantise(input, rows, depth, quantised, args.a_stride, scales) }
        kernels.pointee.s8_gemm(&args)
      }
    } else {
      let memory = try packed.allocate(bytes: nt_f32_packed_bytes(columns, depth), for: nil)
        .bindMemory(to: Float.self, capacity: nt_f32_packed_bytes(columns, depth) / 4)
      nt_f32_pack(weights.map { 0.01 * Float($0) }, nil, columns, depth, memory)
      var args = nt_f32_gemm_args()
      args.a = UnsafePointer(input)
      args.weights = UnsafePointer(memory)
      (args.rows, args.columns, args.depth) = (rows, columns, depth)
      args.panel_end = nt_panel_count(columns)
      args.out = output
      return Stopwatch.best(within: budget) { kernels.pointee.f32_gemm(&args) }
    }
  }
}
