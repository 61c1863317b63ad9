internal import NeedletailSystem
internal import Synchronization

/// Frees the memory of versions that nobody needs any more, on the loader's thread and its background threads.
///
/// It is not the loader itself: a version that is still held somewhere must not keep the loader, and the lock of its state
/// directory, beyond the life of the store.
actor RetiredVersions {
  private let executor: ThreadExecutor
  private let background: BackgroundThreads
  private nonisolated let memory = Mutex<[RetiredMemory]>([])
  private nonisolated let versions = Mutex<[LiveModel]>([])

  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  /// Bytes that the heaps may keep after a version was freed. Its small parts are used again by the next one; trimming
  /// after each of many small swaps would stop the loops' allocations for more than it gives back.
  private static let heapKeptMax = 4 << 20

  /// - Parameters:
  ///   - executor: the loader's, so that its calls and those of this actor never run at a time.
  ///   - background: the loader's threads.
  init(_ executor: ThreadExecutor, _ background: BackgroundThreads) {
    self.executor = executor
    self.background = background
  }

  /// Takes over the memory of a version; any thread may call this.
  /// - Parameter freed: called once it is freed.
  nonisolated func add(_ part: RetiredMemory, freed: @escaping @Sendable () -> Void) {
    memory.withLock { $0.append(part) }
    Task {
      await free()
      freed()
    }
  }

  /// Takes over an event loop's reference to a version.
  nonisolated func add(_ version: LiveModel) {
    versions.withLock { $0.append(version) }
    Task { await dropVersions() }
  }

  /// Frees what was added so far, and gives it back to the system.
  func free() {
    var parts = memory.withLock { memory in
      defer { memory = [] }
      return memory
    }
    guard !parts.isEmpty else { return }
    background.run {
      while var part = parts.popLast() { part.free() }
    }
    Heap.trim(ifKept: Self.heapKeptMax)
  }

  private func dropVersions() {
    // Dropped outside of the lock: the last reference adds to `memory`.
    let dropped = versions.withLock { versions in
      defer { versions = [] }
      return versions
    }
    withExtendedLifetime(dropped) {}
  }
}
