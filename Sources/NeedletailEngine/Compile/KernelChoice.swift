internal import CNeedletailKernels
internal import NeedletailCore

/// One choice by time among ways that give the same bits.
struct WayChoice: Equatable {
  /// Index of the way in use.
  private(set) var way = 0
  /// What it took when the ways were timed last, in microseconds; 0: they never were.
  private(set) var microseconds = 0.0

  /// Another way must take less than this part of the time of the one in use: timings are noisy.
  static let worthwhilePart = 0.95
  /// The same where the way rounds: what is lost must buy something.
  static let worthRoundingPart = 0.8

  /// Takes new times of all ways, the present one's among them. Former times do not count: a machine changes, and a first
  /// measurement may have met other work.
  mutating func decide(_ times: [Double], part: Double = worthwhilePart) {
    guard times.indices.contains(way), let least = times.indices.min(by: { times[$0] < times[$1] }) else { return }
    if times[least] < part * times[way] { way = least }
    microseconds = times[way]
  }
}

/// The products that compute the layers of one plan, by layer and number of rows: the fastest ones when they were timed
/// last.
///
/// Unchecked: the thread that compiles the plan makes it, and one background thread at a time chooses again. Those that
/// run the plan read atomic words of its layers only.
final class KernelChoice: @unchecked Sendable {
  /// One bucket of ``nt_dense_bucket(_:)`` whose ways may differ.
  struct Bucket: Equatable {
    let index: Int
    /// Rows that are timed for it.
    let rows: Int
  }

  private let layers: [ChoosableLayer]
  /// By layer and bucket.
  private(set) var choices: [[WayChoice]]

  /// - Parameter layers: whose parameters outlive this object.
  init(_ layers: [ChoosableLayer]) {
    self.layers = layers.filter { $0.wayCount > 1 }
    choices = self.layers.map { Array(repeating: WayChoice(), count: $0.buckets.count) }
  }

  /// Whether there is nothing to choose.
  var isEmpty: Bool { layers.isEmpty }

  /// Times every way of every layer and takes the fastest.
  ///
  /// - Parameters:
  ///   - rowsMax: most rows of a run; buckets beyond are left alone.
  ///   - time: microseconds of a way of a layer for some rows.
  /// - Returns: how many choices are others than before.
  @discardableResult
  func decide(
    rowsMax: Int, _ time: (_ layer: ChoosableLayer, _ way: Int, _ rows: Int) throws(PlanError) -> Double
  ) throws(PlanError) -> Int {
    var changed = 0
    var known: [ChoosableLayer.Shape: [[Double]]] = [:]
    for (index, layer) in layers.enumerated() {
      let buckets = layer.buckets
      var times = known[layer.shape] ?? []
      if times.isEmpty {
        for bucket in buckets where 1 << bucket.index <= rowsMax {
          var row: [Double] = []
          for way in 0..<layer.wayCount { row.append(try time(layer, way, min(rowsMax, bucket.rows))) }
          times.append(row)
        }
        known[layer.shape] = times
      }
      for (bucket, times) in zip(buckets.indices, times) {
        let before = choices[index][bucket]
        choices[index][bucket].decide(times, part: layer.worthwhilePart)
        let way = choices[index][bucket].way
        if before.microseconds > 0, before.way != way { changed += 1 }
        // The last ones do as the one before, because a long run costs the loader more than there is to gain.
        let first = buckets[bucket].index
        for place in first...(bucket == buckets.count - 1 ? Int(NT_DENSE_BUCKETS) - 1 : first) {
          layer.choose(way, bucket: place)
        }
      }
    }
    return changed
  }
}

/// Parameters of a dense step that can compute a number of rows in more than one way.
enum ChoosableLayer {
  case int8(UnsafeMutablePointer<nt_dense_s8>)
  case float32(UnsafeMutablePointer<nt_dense_f32>)

  struct Shape: Hashable {
    let isInt8: Bool
    let columns, depth: UInt32
  }

  var shape: Shape {
    switch self {
    case .int8(let layer): Shape(isInt8: true, columns: layer.pointee.columns, depth: layer.pointee.depth)
    case .float32(let layer): Shape(isInt8: false, columns: layer.pointee.columns, depth: layer.pointee.depth)
    }
  }

  /// Rows between the ends of each bucket. Fewer rows than eight fit one tile of every int8 way; for bf16 they are what
  /// it is made for.
  var buckets: [KernelChoice.Bucket] {
    let manyRows: [KernelChoice.Bucket] = [
      .init(index: 3, rows: 12), .init(index: 4, rows: 24), .init(index: 5, rows: 48),
    ]
    switch self {
    case .int8: return manyRows
    case .float32: return [.init(index: 0, rows: 1), .init(index: 1, rows: 3), .init(index: 2, rows: 6)] + manyRows
    }
  }
  /// Most rows that are timed.
  static let rowsMax = 48

  var worthwhilePart: Double {
    switch self {
    case .int8: WayChoice.worthwhilePart
    case .float32: WayChoice.worthRoundingPart
    }
  }

  /// 1: there is nothing to choose.
  var wayCount: Int {
    switch self {
    case .int8(let layer): max(1, Self.ways(of: layer.pointee).count)
    case .float32(let layer): Self.ways(of: layer.pointee).count
    }
  }

  func choose(_ way: Int, bucket: Int) {
    switch self {
    case .int8(let layer): nt_dense_choose(layer, bucket, Self.ways(of: layer.pointee)[way])
    case .float32(let layer): nt_dense_f32_choose(layer, bucket, Self.ways(of: layer.pointee)[way])
    }
  }

  /// Products of the same bits.
  static func ways(of layer: nt_dense_s8) -> [nt_s8_gemm] {
    let ways = layer.kernels.pointee.ways
    return [ways.0, ways.1, ways.2].compactMap { $0 }
  }

  /// The exact product first.
  static func ways(of layer: nt_dense_f32) -> [nt_f32_way] {
    var ways = [NT_F32_WAY_EXACT]
    if layer.bf16_weights != nil { ways.append(NT_F32_WAY_BF16) }
    var layer = layer
    if nt_dense_f32_rounds_rows(&layer) { ways.append(NT_F32_WAY_BF16_TILES) }
    if layer.sgemm != nil { ways.append(NT_F32_WAY_LIBRARY) }
    return ways
  }
}
