internal import CNeedletailAllocations

/// Heap allocations of the calling thread and of the engine's helpers.
public enum Allocations {
  /// False where they cannot be counted, e.g. under a sanitizer: such tests should be disabled.
  public static var areCounted: Bool { nt_allocations_counted() }

  /// How many allocations `body` makes on this thread, and the helpers of the engine's pool meanwhile.
  public static func during(_ body: () -> Void) -> Int {
    let before = nt_allocations_of_thread() + nt_allocations_of_pool()
    body()
    return Int(nt_allocations_of_thread() + nt_allocations_of_pool() - before)
  }
}
