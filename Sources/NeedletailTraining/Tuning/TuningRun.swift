internal import NeedletailBLAS
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem
internal import Synchronization

/// A search for the best settings: trials on several threads, a study that outlives them, and the best model at the end.
///
/// `@unchecked Sendable`: everything that changes is used under the lock.
public final class TuningRun: @unchecked Sendable {
  let plan: TuningPlan
  let own: RunConfiguration
  let observer: TuningObserver
  private let store: StudyStore
  let runner: TrialRunner
  private let threadCount: Int
  private let isInterrupted: @Sendable () -> Bool
  private let lock = Monitor()
  private var study: Study
  private(set) var records: [StudyStore.Record] = []
  private(set) var results: [Int: TrialResult] = [:]
  private var running: Set<Int> = []
  private var activeThreads = 0
  private var failure: TrainingError?
  private var best: Double = .infinity
  private var finishedHere = 0
  private let start = Instant.now()

  /// Results whose answers are kept in memory, for a mixture.
  static let resultsKept = 30
  /// Heartbeats in the time after which a silent process counts as lost: a few may be late.
  private static let beatsPerLoss = 6.0
  private static let drawMicroseconds: UInt64 = 200_000

  /// Reads the data, and opens the study or makes one.
  ///
  /// - Parameters:
  ///   - seconds: time to search, instead of the run file's.
  ///   - incumbent: version that the model will be compared with, which the data has to allow; nil: none.
  ///   - isInterrupted: asked often; true ends the search.
  /// - Throws: `TrainingError` that says what is wrong with the run file, the data or the study.
  public init(
    _ source: RunFileText, place: Place, seconds: Double? = nil, preset: String? = nil,
    incumbent: Incumbent? = nil, observer: TuningObserver = TuningObserver(),
    isInterrupted: @escaping @Sendable () -> Bool = { false }
  ) throws(TrainingError) {
    BLAS.useOneThread()
    own = try source.configuration()
    let settings = TuningSettings(own, seconds: seconds, preset: preset.flatMap(TuningPreset.init(rawValue:)))
    plan = try TuningPlan(source, own, settings)
    try incumbent?.check(
      columns: plan.dataset.features.columns.map(\.name), task: plan.labels.isEmpty ? .regression : .classification,
      labels: plan.labels)
    let processors = TreeLimits.threads(0)
    threadCount = settings.parallel > 0 ? settings.parallel : processors
    runner = TrialRunner(plan, threads: max(1, processors / threadCount))
    (self.observer, self.isInterrupted) = (observer, isInterrupted)
    store = try place.open(settings, worker: Self.workerName(), isInterrupted: isInterrupted)
    try store.open(fingerprint: plan.fingerprint, place: place.description)
    study = Study(
      arms: plan.arms.map(\.arm), seed: settings.seed, sampler: settings.sampler,
      pruner: settings.prunes ? MedianPruner() : nil)
  }

  /// Trials that this process has ended and that count.
  public var trialsDone: Int {
    lock.lock()
    defer { lock.unlock() }
    return finishedHere
  }

  /// Sentences about the data that the user should know.
  public var warnings: [String] { plan.warnings }

  private static func workerName() -> String {
    var random = SystemRandomNumberGenerator()
    return String(random.next() as UInt64, radix: 16)
  }

  // MARK: - the search

  /// Tries until the time is over, the trials are done, or the user interrupts.
  ///
  /// - Throws: `TrainingError` where the study cannot be written, or every trial of a family failed.
  public func search() throws(TrainingError) {
    let names = plan.arms.map(\.family.name).joined(separator: ", ")
    let judges =
      plan.folds.count > 1
      ? "\(plan.folds.count) folds" : "\(Figures.count(plan.split.validation.count)) validation rows"
    observer.stage(
      "searching \(names) for \(Figures.duration(plan.settings.seconds)), judged by \(plan.metric.rawValue) on \(judges)"
    )
    lock.lock()
    activeThreads = threadCount
    lock.unlock()
    for index in 0..<threadCount {
      NativeThread.start(name: "trial-\(index)") { [self] in work() }
    }
    var lastBeat = Instant.now()
    lock.lock()
    while activeThreads > 0 {
      lock.wait(until: Instant.now().advanced(byMicroseconds: Self.drawMicroseconds))
      observer.progress(progress())
      if Double(Instant.now().microseconds(since: lastBeat)) / 1e6 >= plan.settings.lostSeconds / Self.beatsPerLoss {
        lastBeat = Instant.now()
        do throws(TrainingError) { try store.beat() } catch { failure = failure ?? error }
      }
    }
    let failure = failure
    do throws(TrainingError) { try store.release() } catch { if failure == nil { self.failure = error } }
    records = (try? store.records(arms: study.arms)) ?? records
    lock.unlock()
    if let failure { throw failure }
    let isDone = records.contains { $0.trial.state == .complete }
    guard isDone || isInterrupted() else {
      let note = records.lazy.compactMap(\.note).first ?? "no trial ended in time; raise tuning.seconds"
      throw .fit("tuning: expected a trial that succeeds, found none: \(note)")
    }
  }

  var secondsSpent: Double { Double(Instant.now().microseconds(since: start)) / 1e6 }

  /// True once no further trial begins. The first trials may take longer than the search has.
  private func isOver() -> Bool {
    isInterrupted() || failure != nil
      || (secondsSpent >= plan.settings.seconds && records.contains { $0.trial.state == .complete })
  }

  private func work() {
    tries: while true {
      let trial: Study.Trial
      switch claim() {
      case .trial(let claimed): trial = claimed
      case .later:
        lock.lock()
        lock.wait(until: Instant.now().advanced(byMicroseconds: Self.drawMicroseconds))
        lock.unlock()
        continue
      case .none: break tries
      }
      let outcome: Result<TrialResult, TrainingError>
      do throws(TrainingError) {
        outcome = .success(
          try runner.run(trial) { [self] (step, loss) throws(TrainingError) in try report(trial.number, step, loss) })
      } catch {
        outcome = .failure(error)
      }
      finish(trial, outcome)
    }
    lock.lock()
    activeThreads -= 1
    lock.signalAll()
    lock.unlock()
  }

  private enum Claim {
    case trial(Study.Trial)
    /// All trials have begun. Those that run may still come back from a lost process.
    case later
    case none
  }

  private func claim() -> Claim {
    lock.lock()
    defer { lock.unlock() }
    guard !isOver() else { return .none }
    do throws(TrainingError) {
      let claimed = try store.claim(
        arms: study.arms, holding: running, trialsMax: plan.settings.trialsMax
      ) { all in
        // Asked for once more, where the connection was lost.
        study.forget(from: all.count)
        take(all)
        return study.ask()
      }
      take(claimed.all)
      guard let trial = claimed.trial else {
        return claimed.all.contains { $0.trial.state == .running } ? .later : .none
      }
      study.take(trial)
      if trial.number == records.count { records.append(.init(trial: trial)) }
      running.insert(trial.number)
      return .trial(trial)
    } catch {
      failure = error
      return .none
    }
  }

  /// Brings the study up to what the database holds. Steps of our own running trials are known here only.
  private func take(_ all: [StudyStore.Record]) {
    records = all
    for record in all where !running.contains(record.trial.number) { study.take(record.trial) }
  }

  private func report(_ number: Int, _ step: Int, _ loss: Double) throws(TrainingError) {
    lock.lock()
    defer { lock.unlock() }
    guard !isOver() else { throw .stopped }
    guard step >= 0, study.trials[number].state == .running else { return }
    if study.report(number, step: step, loss: loss) { throw .pruned }
  }

  private func finish(_ trial: Study.Trial, _ outcome: Result<TrialResult, TrainingError>) {
    lock.lock()
    defer { lock.unlock() }
    running.remove(trial.number)
    var record = StudyStore.Record(trial: trial)
    switch outcome {
    case .success(let result):
      let limit = plan.settings.latencyMicrosecondsMax ?? .infinity
      // A model that is too slow is no candidate, whatever its loss.
      let loss = result.microsecondsPerRow <= limit ? result.loss : .infinity
      study.tell(trial.number, .complete, loss: loss)
      record.fitSeconds = result.fitSeconds
      record.microsecondsPerRow = result.microsecondsPerRow
      if loss == .infinity { record.note = "slower than tuning.latency_us_max" }
      keep(result, of: trial.number, loss: loss)
      if loss < best {
        best = loss
        observer.improved(leader(trial, result, loss))
      }
    case .failure(.stopped):
      // Left running in the database: whoever goes on with the study tries it again.
      return
    case .failure(.pruned): study.tell(trial.number, .pruned)
    case .failure(let error):
      study.tell(trial.number, .failed)
      record.note = error.message
    }
    record.trial = study.trials[trial.number]
    do throws(TrainingError) {
      guard try store.finish(record) else { return }
      finishedHere += 1
      if records.indices.contains(trial.number) { records[trial.number] = record }
    } catch {
      failure = error
    }
  }

  private func keep(_ result: TrialResult, of number: Int, loss: Double) {
    guard loss.isFinite else { return }
    results[number] = result
    guard results.count > Self.resultsKept else { return }
    let worst = results.max { ($0.value.loss, $0.key) < ($1.value.loss, $1.key) }
    if let worst { results[worst.key] = nil }
  }

  // MARK: - what is shown

  private func progress() -> TuningProgress {
    TuningProgress(
      seconds: secondsSpent, secondsMax: plan.settings.seconds, trialsMax: plan.settings.trialsMax,
      complete: records.count { $0.trial.state == .complete }, pruned: records.count { $0.trial.state == .pruned },
      failed: records.count { $0.trial.state == .failed },
      running: running.sorted().map { "\(plan.arms[study.trials[$0].arm].family.name) #\($0 + 1)" },
      metric: plan.metric.rawValue, best: best.isFinite ? plan.metric.figure(best) : nil)
  }

  private func leader(_ trial: Study.Trial, _ result: TrialResult, _ loss: Double) -> TuningLeader {
    let arm = plan.arms[trial.arm]
    return TuningLeader(
      name: "\(arm.family.name) #\(trial.number + 1)", metric: plan.metric.rawValue, figure: plan.metric.figure(loss),
      fitSeconds: result.fitSeconds, microsecondsPerRow: result.microsecondsPerRow,
      settings: arm.values(trial.point).map { "\($0.path)=\($0.value.shortText)" })
  }

  /// Models so far, the best first.
  public var leaderboard: [TuningLeader] {
    records.filter { $0.trial.state == .complete && ($0.trial.loss ?? .infinity).isFinite }
      .sorted { ($0.trial.loss ?? 0, $0.trial.number) < ($1.trial.loss ?? 0, $1.trial.number) }
      .map { record in
        let result = TrialResult(
          loss: 0, fitSeconds: record.fitSeconds ?? 0, microsecondsPerRow: record.microsecondsPerRow ?? 0, answers: [],
          rows: [], models: [])
        return leader(record.trial, result, record.trial.loss ?? .infinity)
      }
  }
}
