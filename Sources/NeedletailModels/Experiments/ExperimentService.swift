internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailMetrics
internal import Synchronization

/// The experiments of a store's models: told of rollouts by the control loop and of outcomes by whoever joins them, it
/// shows figures, keeps them on the disk, and writes the decision into the rollout file where that file asks for it.
public final class ExperimentService: Sendable {
  private struct State {
    var book = ExperimentBook()
    var series: ExperimentSeries
    /// Models whose experiments have changed since they were written.
    var changed: Set<ModelID> = []
    /// Models whose rollout file is to be written, and the tries that have failed.
    var promotions: [ModelID: Promotion] = [:]
  }

  private struct Promotion {
    /// Time of the next try; nil: at once.
    var due: Instant?
  }

  private struct Files {
    var byModel: [ModelID: StateFile<Experiment>] = [:]
    var lastWrite: Instant?
    /// Whether somebody will look again after a while.
    var isWaiting = false
  }

  private let directory: StateDirectory
  private let metrics: MetricsRegistry
  private let eventLog: EventLog
  private let source: any StoreSource
  private let state: Mutex<State>
  private let files = Mutex(Files())
  private let signals: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation

  init(source: any StoreSource, state directory: StateDirectory, metrics: MetricsRegistry, eventLog: EventLog) {
    self.source = source
    self.directory = directory
    self.metrics = metrics
    self.eventLog = eventLog
    state = Mutex(State(series: ExperimentSeries(metrics)))
    (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  // MARK: what comes in

  /// Takes in the rollouts as they are now. Called by the control loop alone.
  func observe(_ models: [ModelStatus], now: Moment = .now()) {
    let observations = models.map {
      ExperimentBook.Observation(
        model: $0.model, policy: $0.rollout.policy, quarantined: Set($0.rollout.quarantined.map(\.version)))
    }
    let events = state.withLock { state in
      let events = state.book.observe(observations, now: now) { recall($0) }
      note(events, &state)
      return events
    }
    tell(events)
  }

  /// Takes outcomes that were joined with predictions of one model.
  public func take(_ outcomes: [JoinedOutcome], of model: String) { take(outcomes, of: model, now: .now()) }

  func take(_ outcomes: [JoinedOutcome], of model: String, now: Moment) {
    guard !outcomes.isEmpty, let model = try? ModelID(model) else { return }
    let (isChanged, events) = state.withLock { state in
      let taken = state.book.take(outcomes, of: model, now: now)
      if taken.isChanged {
        state.changed.insert(model)
        show(model, &state)
      }
      note(taken.events, &state)
      return taken
    }
    tell(events)
    if isChanged { signal.yield() }
  }

  /// Whether outcomes of a model count for an experiment.
  public func isRunning(_ model: String) -> Bool {
    guard let model = try? ModelID(model) else { return false }
    return state.withLock { $0.book.isRunning(model) }
  }

  /// What is known of every experiment that runs, and of the last one of each model that ended, by name.
  public var reports: [ExperimentReport] {
    state.withLock { state in
      state.book.experiments.sorted { $0.key < $1.key }.map { ExperimentReport($0.value, of: $0.key) }
    }
  }

  private func note(_ events: [ExperimentBook.Event], _ state: inout State) {
    for event in events {
      switch event {
      case .began(let model, _):
        state.promotions[model] = nil
        state.changed.insert(model)
        show(model, &state)
        // One that was concluded before the restart, and whose file was not written.
        note(promotionOf: model, &state)
      case .concluded(let model):
        state.changed.insert(model)
        if let result = state.book.experiments[model]?.conclusion?.result { state.series.count(result) }
        show(model, &state)
        note(promotionOf: model, &state)
      case .abandoned(let model):
        state.changed.remove(model)
        state.promotions[model] = nil
        show(model, &state)
      case .refused, .forgotten: break
      }
    }
    state.promotions = state.promotions.filter { state.book.policies[$0.key] != nil }
  }

  private func note(promotionOf model: ModelID, _ state: inout State) {
    state.promotions[model] = state.book.promotion(of: model).map { _ in Promotion() }
  }

  private func show(_ model: ModelID, _ state: inout State) {
    state.series.show(state.book.experiments[model].map { ExperimentReport($0, of: model) }, of: model)
  }

  private func tell(_ events: [ExperimentBook.Event]) {
    for event in events {
      switch event {
      case .began(let model, let isResumed):
        let isOver = isResumed && !isRunning(model.name)
        eventLog.emit(
          .rollout, .notice,
          isOver
            ? "experiment was concluded before the restart"
            : isResumed ? "experiment goes on after a restart" : "experiment began", model: model)
      case .abandoned(let model):
        eventLog.emit(.rollout, .notice, "experiment ended by a new rollout file, undecided", model: model)
      case .forgotten(let model):
        eventLog.emit(
          .alarm, .warning, "experiment of before the restart cannot go on, beginning anew", model: model,
          [.init("reason", "expected figures that an experiment can have, found others in its file")])
      case .refused(let model):
        eventLog.emit(
          .rollout, .warning, "experiment not begun", model: model,
          [.init("reason", "expected at most \(Limits.experimentsMax) at a time, found more")])
      case .concluded(let model): tellConclusion(of: model)
      }
    }
    if !events.isEmpty { signal.yield() }
  }

  private func tellConclusion(of model: ModelID) {
    guard let report = reports.first(where: { $0.model == model }) else { return }
    eventLog.emit(
      .rollout, report.state == Experiment.Result.stopped.rawValue ? .warning : .notice, "experiment concluded",
      model: model, version: report.winner.flatMap { ModelVersion($0) },
      [
        .init("result", report.state), .init("reason", report.reason),
        .init("outcomes", report.arms.reduce(0) { $0 + $1.outcomes }),
      ])
  }

  // MARK: what is written

  /// Writes experiments and rollout files until the task is cancelled.
  func run() async {
    for await _ in signals {
      // What was concluded is on the disk before anybody can see what follows from it.
      let rest = writeStates()
      writeRollouts()
      guard let delay = [rest, retryDelay].compactMap({ $0 }).min() else { continue }
      let isWaiting = files.withLock { files in
        defer { files.isWaiting = true }
        return files.isWaiting
      }
      guard !isWaiting else { continue }
      Task { [weak self] in
        try? await Task.sleep(for: delay)
        self?.files.withLock { $0.isWaiting = false }
        self?.signal.yield()
      }
    }
  }

  /// Writes what has changed since it was last written.
  func finish() { _ = writeStates(isLast: true) }

  private func recall(_ model: ModelID) -> Experiment? {
    files.withLock { files in
      withFile(of: model, &files) { $0.read() }
    }
  }

  private func withFile<Result>(
    of model: ModelID, _ files: inout Files, _ body: (inout StateFile<Experiment>) -> Result
  ) -> Result {
    var file =
      files.byModel[model]
      ?? StateFile(
        "experiment-\(model.name).json", of: directory, content: "experiment of \(model.name)",
        lost: "beginning anew", metrics: metrics, eventLog: eventLog)
    defer { files.byModel[model] = file }
    return body(&file)
  }

  /// Writes experiments that have changed, those that run only now and then.
  /// - Returns: time after which to write the rest; nil: all is written.
  private func writeStates(isLast: Bool = false, now: Instant = .now()) -> Duration? {
    let interval = UInt64(Limits.experimentWriteMilliseconds) * 1000
    let lastWrite = files.withLock { $0.lastWrite }
    let isDue = isLast || lastWrite.map { UInt64(now.microseconds(since: $0)) >= interval } ?? true
    // One lock after the other: who observes takes that of the files within that of the state.
    let experiments = state.withLock { state in
      let models = state.changed.filter { isDue || state.book.experiments[$0]?.conclusion != nil }
      state.changed.subtract(models)
      return models.compactMap { model in state.book.experiments[model].map { (model, $0) } }
    }
    let retry = files.withLock { files in
      if isDue && !experiments.isEmpty { files.lastWrite = now }
      for (model, experiment) in experiments { withFile(of: model, &files) { $0.write(experiment) } }
      for model in files.byModel.keys { files.byModel[model]?.writeAgain() }
      return files.byModel.values.compactMap(\.retryDelay).min()
    }
    let rest: Duration? = state.withLock { $0.changed.isEmpty } ? nil : .microseconds(Int64(interval))
    return [retry, rest].compactMap { $0 }.min()
  }

  /// Time after which to try rollout files again that could not be written.
  private var retryDelay: Duration? {
    state.withLock { $0.promotions.isEmpty } ? nil : .milliseconds(Limits.stateRetryMillisecondsMax)
  }

  private func writeRollouts(now: Instant = .now()) {
    for (model, promotion) in state.withLock({ $0.promotions }) where promotion.due.map({ now >= $0 }) ?? true {
      // The policy that is in force now: somebody may have changed a guard since the last try.
      let (policy, reason) = state.withLock {
        ($0.book.promotion(of: model), $0.book.experiments[model]?.conclusion?.reason ?? "")
      }
      guard let policy else { continue }
      let time = UnixTime.text(milliseconds: UnixTime.nowMilliseconds())
      do throws(BundleError) {
        let place = try source.writeRollout(
          "# needletail-server, experiment concluded, \(time): \(reason)\n" + policy.yaml, of: model)
        state.withLock { $0.promotions[model] = nil }
        source.wake()
        eventLog.emit(
          .rollout, .notice, "rollout file written by an experiment", model: model, [.init("path", place)])
      } catch {
        let due = now.advanced(byMicroseconds: UInt64(Limits.stateRetryMillisecondsMax) * 1000)
        state.withLock { $0.promotions[model]?.due = due }
        guard promotion.due == nil else { continue }
        eventLog.emit(
          .alarm, .error, "rollout file not written by an experiment, trying again until it is", model: model,
          [.init("reason", error.message)])
      }
    }
  }
}
