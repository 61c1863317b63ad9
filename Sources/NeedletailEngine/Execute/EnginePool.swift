internal import CNeedletailKernels

/// The process's one pool of threads, which share the layers that are worth it.
///
/// A run never waits for another run: threads share a layer only while fewer runs than threads are
/// under way, and no answer depends on whether they did. Idle threads sleep.
public enum EnginePool {
  /// Starts it. The first call decides, for the whole process; without it every run stays on its
  /// caller's thread.
  ///
  /// - Parameter threads: those that may compute at a time, the caller's among them.
  /// - Returns: how many there are: fewer than asked for where the system refuses more, or where the
  ///   pool was started before.
  @discardableResult
  public static func start(threads: Int) -> Int { nt_pool_start(max(1, threads)) }

  /// Threads that may share a layer, the caller's among them; 1 before ``start(threads:)``.
  public static var threads: Int { nt_pool_threads() }

  /// Layers that were shared so far.
  public static var sharedLayers: UInt64 { nt_pool_jobs() }
}
