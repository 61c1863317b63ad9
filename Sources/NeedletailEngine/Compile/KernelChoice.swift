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

  /// Takes new times of all ways, the present one's among them. Former times do not count: a machine changes, and a first
  /// measurement may have met other work.
  mutating func decide(_ times: [Double]) {
    guard times.indices.contains(way), let least = times.indices.min(by: { times[$0] < times[$1] }) else { return }
    if times[least] < Self.worthwhilePart * times[way] { way = least }
    microseconds = times[way]
  }
}

/// The products that compute the int8 layers of one plan, by layer and number of rows: the fastest ones when they were
/// timed last.
///
/// Unchecked: the thread that compiles the plan makes it, and one background thread at a time chooses again. Those that
/// run the plan read atomic words of its layers only.
final class KernelChoice: @unchecked Sendable {
  /// One bucket of ``nt_dense_bucket(_:)`` whose ways may differ. Fewer rows than eight fit one tile of every way.
  struct Bucket {
    let index: Int
    /// Rows that are timed for it.
    let rows: Int
  }

  /// Rows between the ends of each bucket. The last ones do as the one before, because a long run costs the loader more
  /// than there is to gain.
  static let buckets = [Bucket(index: 3, rows: 12), Bucket(index: 4, rows: 24), Bucket(index: 5, rows: 48)]
  private static let lastTimed = 5
  /// Most rows that are timed.
  static let rowsMax = 48

  private let layers: [UnsafeMutablePointer<nt_dense_s8>]
  /// By layer and bucket.
  private(set) var choices: [[WayChoice]]

  /// - Parameter layers: parameters of the plan's steps, which outlive this object.
  init(_ layers: [UnsafeMutablePointer<nt_dense_s8>]) {
    self.layers = layers.filter { $0.pointee.kernels.pointee.ways.1 != nil }
    choices = self.layers.map { _ in Array(repeating: WayChoice(), count: Self.buckets.count) }
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
    rowsMax: Int, _ time: (_ layer: nt_dense_s8, _ way: nt_s8_gemm, _ rows: Int) throws(PlanError) -> Double
  ) throws(PlanError) -> Int {
    var changed = 0
    var known: [Shape: [[Double]]] = [:]
    for (index, layer) in layers.enumerated() {
      let ways = Self.ways(of: layer.pointee)
      let shape = Shape(columns: layer.pointee.columns, depth: layer.pointee.depth)
      var times = known[shape] ?? []
      if times.isEmpty {
        for bucket in Self.buckets where 1 << bucket.index <= rowsMax {
          var row: [Double] = []
          for way in ways { row.append(try time(layer.pointee, way, min(rowsMax, bucket.rows))) }
          times.append(row)
        }
        known[shape] = times
      }
      for (bucket, times) in zip(Self.buckets.indices, times) {
        let before = choices[index][bucket]
        choices[index][bucket].decide(times)
        let way = choices[index][bucket].way
        if before.microseconds > 0, before.way != way { changed += 1 }
        let first = Self.buckets[bucket].index
        for place in first...(first == Self.lastTimed ? Int(NT_DENSE_BUCKETS) - 1 : first) {
          nt_dense_choose(layer, place, ways[way])
        }
      }
    }
    return changed
  }

  private struct Shape: Hashable {
    let columns, depth: UInt32
  }

  private static func ways(of layer: nt_dense_s8) -> [nt_s8_gemm] {
    let ways = layer.kernels.pointee.ways
    return [ways.0, ways.1, ways.2].compactMap { $0 }
  }
}
