internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSystem

/// One event loop's way to those who remember predictions. Confined to the loop.
final class FeedbackLane {
  private let ring: RecordRing
  private let wakeup: Wakeup
  private let lost: FeedbackLosses
  private let shard: Int

  init(_ ring: RecordRing, _ wakeup: Wakeup, _ lost: FeedbackLosses, shard: Int) {
    self.ring = ring
    self.wakeup = wakeup
    self.lost = lost
    self.shard = shard
  }

  func count(_ loss: FeedbackLosses.Reason) { lost.counter(loss).add(shard: shard) }

  /// Hands over a record, or counts it as lost. Nobody is woken before the ring is half full: whoever brings outcomes
  /// looks into it first.
  /// - Parameter body: writes the record.
  func write(_ bytes: Int, _ body: (UnsafeMutableRawPointer) -> Void) {
    guard let place = ring.reserve(bytes) else { return count(.busy) }
    body(place)
    if ring.publish() { wakeup.signal() }
  }
}

/// Counters of named calls whose predictions are not remembered.
struct FeedbackLosses: Sendable {
  enum Reason: String, CaseIterable {
    /// The ring of the loop was full.
    case busy
    /// The call has more rows than are remembered.
    case large
    /// The caller did not ask for the outputs that say what was predicted.
    case outputs
  }

  private let counters: [Counter]

  init(_ metrics: MetricsRegistry) {
    counters = Reason.allCases.map { reason in
      metrics.counter(
        "needletail_feedback_lost_total", help: "Named calls whose predictions are not remembered, by reason.",
        labels: [("reason", reason.rawValue)])
    }
  }

  func counter(_ reason: Reason) -> Counter {
    switch reason {
    case .busy: counters[0]
    case .large: counters[1]
    case .outputs: counters[2]
    }
  }
}
