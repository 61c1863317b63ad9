internal import CNeedletailTestSupport

/// Heap allocations of the calling thread.
public enum Allocations {
  /// False where they cannot be counted, e.g. under a sanitizer: such tests should be disabled.
  public static var areCounted: Bool { nt_allocations_counted() }

  /// How many allocations `body` makes on this thread.
  public static func during(_ body: () -> Void) -> Int {
    let before = nt_allocations_of_thread()
    body()
    return Int(nt_allocations_of_thread() - before)
  }
}
