public import NeedletailCore
public import NeedletailEngine
internal import NeedletailSystem
internal import Synchronization

/// One version of one model, ready to answer. Immutable. When the last table or batch that refers to it is gone, its
/// memory goes to whoever made it: that may be on an event loop, which must not unmap it.
public final class LiveModel: Sendable {
  public let model: ModelID
  public let version: ModelVersion
  public let compiled: CompiledModel
  /// Scratch for every thread that may run it.
  public let workspaces: WorkspaceSet
  /// Small number that no other version has while this one exists, so that tables of versions are plain arrays.
  public let slot: Int
  /// SHA-256 of the bundle's manifest, lower-case hexadecimal.
  public let digest: String
  /// Name of the key that signed it; empty if unsigned.
  public let signer: String
  /// Unix time at which the bundle was made.
  public let createdMilliseconds: UInt64
  /// Figures of the training run, e.g. `test.accuracy`.
  public let trainingMetrics: [String: Double]
  public let lineage: Lineage?
  /// Distribution of the inputs in training; nil if the bundle does not have it.
  public let drift: DriftBaseline?
  /// Live statistics; nil where nobody asked for them, or the bundle has no baseline to compare with.
  public let watch: VersionWatch?
  /// Bytes of memory this version holds, its scratch included.
  public let residentBytes: Int
  /// Runs that warming measured: one per batch bucket, ascending by rows.
  public let warmUp: [WarmUpRun]
  /// Estimate for any batch, from ``warmUp``.
  public let cost: PlanCost
  /// Correction of ``cost`` by the runs that answered calls.
  public let costScale = CostScale()
  public let counters: ModelCounters

  private let onRelease: @Sendable (RetiredMemory) -> Void
  private let onHandOver: @Sendable (LiveModel) -> Void

  /// - Parameters:
  ///   - residentBytes: bytes of the plan and of `workspaces`.
  ///   - onRelease: called once, on the thread that drops the last reference. It takes over the memory, and must neither
  ///     block nor free it there.
  ///   - onHandOver: takes the reference of an event loop that needs the version no more, see ``handOver()``.
  public init(
    model: ModelID, version: ModelVersion, compiled: CompiledModel, digest: String, signer: String,
    createdMilliseconds: UInt64, trainingMetrics: [String: Double], lineage: Lineage?, drift: DriftBaseline?,
    watch: VersionWatch? = nil, warmUp: [WarmUpRun], counters: ModelCounters, workspaces: WorkspaceSet,
    residentBytes: Int,
    onRelease: @escaping @Sendable (RetiredMemory) -> Void = { _ in },
    onHandOver: @escaping @Sendable (LiveModel) -> Void = { _ in }
  ) {
    self.model = model
    self.version = version
    self.compiled = compiled
    self.digest = digest
    self.signer = signer
    self.createdMilliseconds = createdMilliseconds
    self.trainingMetrics = trainingMetrics
    self.lineage = lineage
    self.drift = drift
    self.watch = watch
    self.workspaces = workspaces
    self.residentBytes = residentBytes
    slot = Self.slots.withLock { $0.take() }
    self.warmUp = warmUp
    cost = PlanCost(warmUp)
    self.counters = counters
    self.onRelease = onRelease
    self.onHandOver = onHandOver
  }

  /// Gives a reference to whoever made the version. An event loop calls this before it drops its own: the last reference
  /// frees what was allocated by the loader, for which the C library locks the loader's heap, and a thread of idle
  /// priority that was interrupted in there would stop the loop.
  public func handOver() { onHandOver(self) }

  deinit {
    Self.slots.withLock { $0.giveBack(slot) }
    onRelease(RetiredMemory(compiled, workspaces))
  }

  /// Numbers in use. A table with an entry by a version's slot holds the version too, so that a number which is given back
  /// stands in none any more.
  private struct Slots {
    private var free: [Int] = []
    private var count = 0

    mutating func take() -> Int {
      if let slot = free.popLast() { return slot }
      defer { count += 1 }
      return count
    }

    mutating func giveBack(_ slot: Int) { free.append(slot) }
  }

  private static let slots = Mutex(Slots())
}

/// Memory of a version that nothing refers to any more, on its way to the thread that frees it.
public struct RetiredMemory: Sendable {
  private var compiled: CompiledModel?
  private var workspaces: WorkspaceSet?

  fileprivate init(_ compiled: CompiledModel, _ workspaces: WorkspaceSet) {
    self.compiled = compiled
    self.workspaces = workspaces
  }

  /// Frees it on the calling thread. The loop that let go of the version may hold a part for an instant more; it must
  /// not be the last.
  mutating func free() {
    NativeThread.dropLast(&workspaces)
    var plan = compiled?.plan
    NativeThread.dropLast(&compiled)
    NativeThread.dropLast(&plan)
  }
}
