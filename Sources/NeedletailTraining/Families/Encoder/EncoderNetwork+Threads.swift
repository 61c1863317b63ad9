internal import CNeedletailTraining
internal import NeedletailBLAS

/// Work of an encoder among threads. Its parts do not depend on how many threads there are, nor do the bits of its results.
extension EncoderNetwork {
  private struct Job {
    let body: (Int) -> Void
  }

  /// Runs parts 0 ..< count on the network's threads.
  private func run(parts count: Int, _ body: (Int) -> Void) {
    guard threads > 1, count > 1 else {
      for part in 0..<count { body(part) }
      return
    }
    withoutActuallyEscaping(body) { body in
      withUnsafePointer(to: Job(body: body)) { job in
        nt_boost_run(
          { context, part in context?.assumingMemoryBound(to: Job.self).pointee.body(part) }, job, count, threads)
      }
    }
  }

  /// Multiply-adds of a product from which waking another thread costs less than it saves.
  private static let sharedProductMin = 1 << 21
  /// Rows of a part at least: below, a library's packing of the other matrix costs more than sharing gains.
  private static let partRowsMin = 64
  /// Parts at most. They do not depend on the number of threads, so that neither do the bits of a result.
  private static let partsMax = 16

  /// A product, its rows in parts where it is large.
  func multiply(
    _ a: BLAS.Operand, _ b: BLAS.Operand, into c: UnsafeMutablePointer<Float>, stride: Int, rows: Int, columns: Int,
    depth: Int, kept: Float = 0
  ) {
    let isLarge = rows * columns * depth >= Self.sharedProductMin
    let part = isLarge ? max(Self.partRowsMin, (rows / Self.partsMax + 16) / 16 * 16) : max(rows, 1)
    run(parts: (rows + part - 1) / part) { index in
      let first = index * part
      BLAS.multiply(
        a.from(row: first), b, into: c + first * stride, stride: stride, rows: min(part, rows - first),
        columns: columns, depth: depth, kept: kept)
    }
  }

  /// Numbers of a part of what goes number by number; a multiple of the kernels' vectors.
  private static let partNumbers = 1 << 16

  /// Goes over numbers in parts, the last of which ends at a whole vector.
  func share(_ count: Int, _ body: (Range<Int>) -> Void) {
    let padded = Network.padded(count)
    run(parts: (padded + Self.partNumbers - 1) / Self.partNumbers) { part in
      body(part * Self.partNumbers..<min((part + 1) * Self.partNumbers, padded))
    }
  }

  /// Goes over the rows of the batch that have tokens.
  ///
  /// - Parameter body: the row, its first token, how many it has, and scratch of twice their square, a prefix counted.
  func eachRow(_ body: (Int, Int, Int, UnsafeMutablePointer<Float>) -> Void) {
    run(parts: min(attention.count, rows)) { part in
      for row in stride(from: part, to: rows, by: attention.count) {
        let (first, count) = (starts[row], starts[row + 1] - starts[row])
        if count > 0 { body(row, first, count, attention[part].start) }
      }
    }
  }
}
