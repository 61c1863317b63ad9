/// Who watches a run: a terminal, or nobody. Called on the thread that trains.
public struct RunObserver {
  /// What begins now: `reading 1 file`.
  public var stage: (String) -> Void
  public var epoch: (EpochReport) -> Void
  /// Something the user should know though the run goes on.
  public var warning: (String) -> Void

  public init(
    stage: @escaping (String) -> Void = { _ in }, epoch: @escaping (EpochReport) -> Void = { _ in },
    warning: @escaping (String) -> Void = { _ in }
  ) {
    self.stage = stage
    self.epoch = epoch
    self.warning = warning
  }
}
