/// Floats at a fixed address, owned by one trainer on one thread: BLAS and the loops around it take pointers,
/// and nothing is allocated while an epoch runs.
final class FloatBuffer {
  let start: UnsafeMutablePointer<Float>
  let count: Int

  init(count: Int) {
    self.count = count
    start = .allocate(capacity: max(count, 1))
    start.initialize(repeating: 0, count: max(count, 1))
  }

  deinit { start.deallocate() }

  func copy(from other: FloatBuffer) {
    precondition(count == other.count)
    start.update(from: other.start, count: count)
  }

  func fill(_ value: Float) { start.update(repeating: value, count: count) }
}
