internal import NeedletailCapture
public import NeedletailCore
internal import NeedletailEngine
public import NeedletailMetrics
public import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// Remembers predictions of all loops, and joins them with the outcomes that are reported.
///
/// Loops leave predictions in rings. A call that reports outcomes or asks for figures empties the rings first, off the
/// loops, and a thread does where none comes before they are half full. So a prediction costs its loop one copy and wakes
/// nobody.
public final class FeedbackService: Sendable {
  /// What tells versions apart: one that is published again with the same content is the same.
  private struct SourceName: Hashable {
    let model: String
    let version: UInt64
    let digest: String

    init(_ model: LiveModel) {
      self.model = model.model.name
      version = model.version.number
      digest = model.digest
    }
  }

  /// A version whose predictions are remembered.
  private struct Source: Sendable {
    let name: SourceName
    let book: FeedbackBook.Source
  }

  /// Versions that loops make predictions of, by the numbers that stand in the records. A version that its book forgot is
  /// forgotten here too, and its number is not used again.
  private struct Sources {
    private(set) var byNumber: [Int: Source] = [:]
    private var numbers: [SourceName: Int] = [:]
    /// Number of the next version.
    private(set) var next = 0

    func number(of name: SourceName) -> Int? { numbers[name] }

    mutating func add(_ source: Source) -> Int {
      if let known = numbers[source.name] { return known }
      defer { next += 1 }
      numbers[source.name] = next
      byNumber[next] = source
      return next
    }

    mutating func remove(_ number: Int) {
      if let source = byNumber.removeValue(forKey: number) { numbers[source.name] = nil }
    }
  }

  /// What loops touch, for an instant each.
  private struct Shared {
    var rings: [RecordRing] = []
    var sources = Sources()
    /// Numbers of sources that somebody has asked for and that may have no book or no series yet.
    var fresh: [Int] = []
    /// Sentences about rules that cannot be used, each once.
    var said: Set<String> = []
    var unsaid: [String] = []
    var isStopped = false
  }

  /// What takes time.
  private struct Work {
    var books: [String: FeedbackBook] = [:]
    /// Bytes that the predictions of each book may take.
    var bytesMax = FeedbackBook.bytesMax(models: 1)
    /// Sources that stand in their book.
    var known: Set<Int> = []
    var reports: [Int: (report: FeedbackBook.Report?, time: Instant)] = [:]
  }

  private let rules: FeedbackRules
  private let metrics: MetricsRegistry
  private let losses: FeedbackLosses
  private let capture: CaptureService?
  private let experiments: ExperimentService?
  private let report: @Sendable (String) -> Void
  private let wakeup = Wakeup()
  private let shared = Mutex(Shared())
  private let work = Mutex(Work())

  /// Starts the thread.
  /// - Parameters:
  ///   - capture: writes outcomes beside the captured calls; nil: they end with the process.
  ///   - experiments: told of outcomes that were joined; nil: nobody is.
  ///   - report: called with sentences about rules that do not fit their models.
  public init(
    rules: FeedbackRules, metrics: MetricsRegistry, capture: CaptureService? = nil,
    experiments: ExperimentService? = nil,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.rules = rules
    self.metrics = metrics
    self.capture = capture
    self.experiments = experiments
    self.report = report
    losses = FeedbackLosses(metrics)
    for model in rules.byModel.keys where model != FeedbackRules.others { addSeries(of: model) }
    NativeThread.start(name: "nt-feedback", niceness: 10) { [weak self, wakeup] in
      while true {
        _ = wakeup.wait()
        guard let self, self.isRunning else { return }
        self.work.withLock { self.empty(into: &$0) }
        self.say()
      }
    }
  }

  deinit { wakeup.signal() }

  private var isRunning: Bool { shared.withLock { !$0.isStopped } }

  /// Ends the thread.
  public func stop() {
    shared.withLock { $0.isStopped = true }
    wakeup.signal()
  }

  // MARK: called by loops

  /// Makes one loop's part.
  func lane(shard: Int) -> FeedbackLane {
    let ring = RecordRing(bytes: Limits.feedbackRingBytes)
    shared.withLock { $0.rings.append(ring) }
    return FeedbackLane(ring, wakeup, losses, shard: shard)
  }

  /// Makes what hands over the predictions of a version on one loop; nil: no rule is about it, or it answers neither a
  /// class nor one number.
  func tap(for model: LiveModel, _ lane: FeedbackLane) -> FeedbackTap? {
    guard let rule = rules[model.model.name], rule.rate > 0, let source = source(of: model, rule) else { return nil }
    let number = shared.withLock { shared in
      let number = shared.sources.add(source)
      shared.fresh.append(number)
      return number
    }
    wakeup.signal()
    return FeedbackTap(
      model.compiled.plan, source.book, number: UInt32(number), rate: rule.rate, lane)
  }

  private func source(of model: LiveModel, _ rule: FeedbackRule) -> Source? {
    let definition = model.compiled.definition
    // Places in texts, however many a row has, are no prediction that one outcome tells about.
    guard model.compiled.plan.spans == nil,
      let shape = PredictionShape(outputs: model.compiled.plan.outputs, labels: definition.labels)
    else { return nil }
    var groups = FeedbackGroups.none
    do throws(FeedbackFault) {
      groups = try FeedbackGroups(rule.groups, definition.schema)
    } catch {
      // The rule of all others may name features that only some models have.
      if rules.isOwn(model.model.name) {
        note(
          "feedback: \(model.model.name) version \(model.version.number): \(error.message); its figures are not divided"
        )
      }
    }
    let figure = shape.isClassification ? "test.accuracy" : "test.mae"
    return Source(
      name: SourceName(model),
      book: FeedbackBook.Source(
        version: model.version, shape: shape, groups: groups,
        expected: rule.expected ?? model.trainingMetrics[figure]))
  }

  private func note(_ sentence: String) {
    shared.withLock { shared in
      if shared.said.insert(sentence).inserted { shared.unsaid.append(sentence) }
    }
  }

  // MARK: called off the loops

  /// Takes outcomes of one model's calls.
  /// - Returns: what came of each; nil: no rule is about the model.
  package func take(_ outcomes: [Outcome], of model: String, now: Moment = .now()) -> [OutcomeResult]? {
    guard rules[model] != nil else { return nil }
    let found = work.withLock { work in
      empty(into: &work)
      return outcomes.map { work.books[model]?.take($0, now: now.instant) ?? (.unknown, nil, nil) }
    }
    var counts: [OutcomeResult: UInt64] = [:]
    for (result, _, _) in found { counts[result, default: 0] += 1 }
    for (result, count) in counts { FeedbackSeries.outcomes(of: model, result, in: metrics).add(count) }
    experiments?.take(found.compactMap(\.joined), of: model)
    // What is wrong or was there before is of no use to anybody.
    let kept = zip(outcomes, found).filter { [.joined, .unknown, .late].contains($1.result) }
    capture?.record(
      kept.map { outcome, found in
        CapturedOutcome(
          model: model, version: found.version?.number ?? 0, key: outcome.key, row: outcome.row,
          truth: CapturedOutcome.Truth(outcome.truth), microseconds: now.milliseconds * 1000,
          isJoined: found.result == .joined)
      }, of: model)
    return found.map(\.result)
  }

  /// Figures of the live versions of a model that has some.
  public func report(of model: LiveModel, now: Instant = .now()) -> FeedbackBook.Report? {
    recentReport(of: SourceName(model), now: now)
  }

  /// A report of less than a second ago: a scrape asks for it once for each series.
  private func recentReport(of name: SourceName, now: Instant) -> FeedbackBook.Report? {
    guard let number = shared.withLock({ $0.sources.number(of: name) }) else { return nil }
    return work.withLock { work in
      guard work.known.contains(number) else { return nil }
      if let recent = work.reports[number], now < recent.time.advanced(byMicroseconds: 1_000_000) {
        return recent.report
      }
      let report = work.books[name.model]?.report(of: number, now: now)
      work.reports[number] = (report, now)
      return report
    }
  }

  private func predictions(of model: String) -> Int? {
    work.withLock { work in
      empty(into: &work)
      return work.books[model]?.predictions
    }
  }

  /// Calls of a model that were taken from the rings and are remembered.
  func remembered(of model: String) -> Int { work.withLock { $0.books[model]?.predictions ?? 0 } }

  /// Versions that are known.
  var versions: Int { shared.withLock { $0.sources.byNumber.count } }

  // MARK: rings

  /// Takes what the loops left. Only one thread does so at a time: the one that holds the lock.
  private func empty(into work: inout Work) {
    let known = addFresh(to: &work)
    var sources = known.sources
    for ring in known.rings {
      _ = ring.drain { record in
        let prediction = FeedbackBook.Prediction(reading: record)
        // A version whose first call came since.
        if prediction.source >= sources.next { sources = addFresh(to: &work).sources }
        guard let source = sources.byNumber[prediction.source] else { return }
        work.books[source.name.model]?.remember(prediction)
      }
    }
  }

  /// Makes versions known that somebody has asked for, and forgets those that make room for them.
  private func addFresh(to work: inout Work) -> (rings: [RecordRing], sources: Sources) {
    let (rings, sources, fresh) = shared.withLock { shared in
      defer { shared.fresh.removeAll(keepingCapacity: true) }
      return (shared.rings, shared.sources, shared.fresh)
    }
    var gone: [Int] = []
    for number in fresh {
      guard let source = sources.byNumber[number] else { continue }
      gone += addSource(number, source, to: &work)
    }
    guard !gone.isEmpty else { return (rings, sources) }
    let left = shared.withLock { [known = work.known] shared in
      for number in gone where !known.contains(number) && !shared.fresh.contains(number) {
        shared.sources.remove(number)
      }
      return shared.sources
    }
    return (rings, left)
  }

  /// - Returns: the version that is forgotten for this one; this one, where too many models are remembered.
  private func addSource(_ number: Int, _ source: Source, to work: inout Work) -> [Int] {
    let name = source.name
    guard let rule = rules[name.model], addBook(of: name.model, rule, to: &work) else { return [number] }
    // A version that was let go and is there again has lost its series.
    FeedbackSeries.add(source.book, of: name.model, to: metrics) { [weak self] in
      self?.recentReport(of: name, now: .now())
    }
    guard work.known.insert(number).inserted,
      let forgotten = work.books[name.model]?.add(source.book, number: number, now: .now())
    else { return [] }
    work.known.remove(forgotten)
    work.reports[forgotten] = nil
    return [forgotten]
  }

  /// - Returns: false where too many models are remembered.
  private func addBook(of model: String, _ rule: FeedbackRule, to work: inout Work) -> Bool {
    guard work.books[model] == nil else { return true }
    guard work.books.count < Limits.feedbackModelsMax else { return false }
    var book = FeedbackBook(rule)
    book.limit(bytes: work.bytesMax)
    work.books[model] = book
    let bytesMax = FeedbackBook.bytesMax(models: work.books.count)
    if bytesMax < work.bytesMax {
      work.bytesMax = bytesMax
      for model in Array(work.books.keys) { work.books[model]?.limit(bytes: bytesMax) }
    }
    addSeries(of: model)
    return true
  }

  private func addSeries(of model: String) {
    for result in OutcomeResult.allCases { _ = FeedbackSeries.outcomes(of: model, result, in: metrics) }
    metrics.sampled(
      "needletail_feedback_predictions", kind: .gauge, help: "Calls whose predictions are remembered.",
      labels: [("model", model)]
    ) { [weak self] in self?.predictions(of: model).map(Double.init) }
  }

  private func say() {
    let sentences = shared.withLock { shared in
      defer { shared.unsaid = [] }
      return shared.unsaid
    }
    for sentence in sentences { report(sentence) }
  }
}

extension CapturedOutcome.Truth {
  init(_ truth: Outcome.Truth) {
    switch truth {
    case .label(let label): self = .label(label)
    case .number(let number): self = .number(number)
    }
  }
}
