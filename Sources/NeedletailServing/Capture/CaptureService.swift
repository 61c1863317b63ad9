public import NeedletailCapture
internal import NeedletailCore
internal import NeedletailEngine
public import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// Captures calls of all loops by rules, on a thread of its own.
///
/// Not on the thread of shadows and statistics: those take samples and may drop most of what they see, where capturing
/// keeps every call that a rule names as long as there is room; and a disk that is slow would stop them too. Event loops
/// leave records in rings, and lose some, counted, rather than wait.
public final class CaptureService: Sendable {
  private let thread: CaptureThread
  private let rules: CaptureRules
  private let key: [UInt8]
  private let losses: CaptureLosses

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - key: secret of hashed values; empty where no rule hashes.
  ///   - report: called on the thread with sentences about the disk, when it begins to fail and when it works again, and
  ///     about versions that are not captured because a rule redacts what they do not have.
  public init(
    _ directory: CaptureDirectory, rules: CaptureRules, key: [UInt8], metrics: MetricsRegistry,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.rules = rules
    self.key = key
    losses = CaptureLosses(metrics)
    thread = CaptureThread(directory, CaptureSeries(metrics), losses, report: report)
    NativeThread.start(name: "nt-capture", niceness: 10) { [thread] in thread.run() }
  }

  deinit { thread.stop() }

  /// Makes one loop's part.
  func lane(shard: Int) -> CaptureLane { CaptureLane(thread.addRing(), thread.wakeup, losses, shard: shard) }

  /// Makes what captures the calls of a version on one loop; nil: no rule is about it, or the model's own rule redacts
  /// a feature that the version does not have. Such a name is mistyped or out of date, and the feature that was meant
  /// would be written: nothing is.
  func tap(for model: LiveModel, _ lane: CaptureLane) -> CaptureTap? {
    guard let rule = rules[model.model.name], !rule.isEmpty else { return nil }
    if rules.isOwn(model.model.name), let unknown = Self.unknownFeature(rule, model) {
      thread.say(
        "capture: \(model.model.name) version \(model.version.number): redact: expected features of the model, found "
          + "\(unknown.quotedForMessage); none of its calls are captured")
      return nil
    }
    return CaptureTap(model, rule, source: thread.source(of: model, rule, key: key), lane)
  }

  private static func unknownFeature(_ rule: CaptureRule, _ model: LiveModel) -> String? {
    let known = Set(model.compiled.definition.schema.features.map { ValueText.normalised($0.name) })
    return rule.redacted.first { !known.contains(ValueText.normalised($0.feature)) }?.feature
  }

  /// Writes outcomes beside the calls of a model that a rule is about; without waiting.
  func record(_ outcomes: [CapturedOutcome], of model: String) {
    guard !outcomes.isEmpty, let rule = rules[model], !rule.isEmpty else { return }
    thread.record(outcomes)
  }

  /// Writes what the loops left, ends the segment and the thread. Called once the loops have stopped.
  public func stop() async {
    await withCheckedContinuation { continuation in thread.stop { continuation.resume() } }
  }
}

/// Metrics of the capture thread.
struct CaptureSeries: Sendable {
  private let metrics: MetricsRegistry
  let writtenBytes: Counter
  let storedBytes: Gauge
  let segments: Gauge

  init(_ metrics: MetricsRegistry) {
    self.metrics = metrics
    writtenBytes = metrics.counter(
      "needletail_capture_written_bytes_total", help: "Bytes of captured calls that were written, compressed.")
    storedBytes = metrics.gauge("needletail_capture_stored_bytes", help: "Bytes of all segments of captured calls.")
    segments = metrics.gauge("needletail_capture_segments", help: "Segments of captured calls.")
  }

  func calls(of model: String) -> Counter {
    metrics.counter(
      "needletail_capture_calls_total", help: "Calls that were captured and written.", labels: [("model", model)])
  }
}

/// A version whose calls are captured.
struct CaptureSource: Sendable {
  let model: CapturedModel
  /// Nil: nothing is redacted.
  let redactor: Redactor?

  init(_ model: LiveModel, _ rule: CaptureRule, key: [UInt8]) {
    let features = model.compiled.definition.schema.features.map(\.name)
    self.model = CapturedModel(
      name: model.model.name, version: model.version.number, digest: model.digest, features: features,
      outputs: model.compiled.plan.outputs.map { output in
        CapturedModel.Output(
          name: output.name, kind: output.kind, columns: output.kind == .number ? output.columns : 1)
      },
      labels: model.compiled.definition.labels, redacted: rule.redacted)
    redactor =
      rule.redacted.isEmpty ? nil : Redactor(features: features, redacted: rule.redacted, key: key)
  }
}
