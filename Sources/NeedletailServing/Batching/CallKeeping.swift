public import NeedletailCore
internal import NeedletailModels

/// Who keeps calls beyond their answers.
public struct CallKeeping: Sendable {
  /// Captures calls by rules; nil: nobody does.
  let capture: CaptureService?
  /// Remembers predictions for outcomes that come later; nil: nobody does.
  let feedback: FeedbackService?
  /// Makes the digests of calls' names.
  let names: CallKeyHasher

  public init(
    capture: CaptureService? = nil, feedback: FeedbackService? = nil, names: CallKeyHasher = CallKeyHasher()
  ) {
    self.capture = capture
    self.feedback = feedback
    self.names = names
  }
}

/// One loop's part of ``CallKeeping``. Confined to the loop.
struct CallKeeper {
  private let keeping: CallKeeping
  private let captureLane: CaptureLane?
  private let feedbackLane: FeedbackLane?

  init(_ keeping: CallKeeping, shard: Int) {
    self.keeping = keeping
    captureLane = keeping.capture?.lane(shard: shard)
    feedbackLane = keeping.feedback?.lane(shard: shard)
  }

  func captureTap(for model: LiveModel) -> CaptureTap? {
    captureLane.flatMap { keeping.capture?.tap(for: model, $0) }
  }

  func feedbackTap(for model: LiveModel) -> FeedbackTap? {
    feedbackLane.flatMap { keeping.feedback?.tap(for: model, $0) }
  }

  /// Name of a call for those who keep it.
  func name(of call: PredictCall) -> CallName {
    let key = keeping.names.key(of: call.name)
    let unit = call.routingKey.isEmpty ? key : keeping.names.key(of: call.routingKey)
    return CallName(key: key, unit: unit.low, isSelected: call.isSelected)
  }

  /// Forgets what is kept for one tick.
  func endTick() { captureLane?.endTick() }
}

/// Name of a call and how it came to its version: what is left of both until the call is answered. Plain bits.
struct CallName: BitwiseCopyable {
  var key = CallKey.none
  /// Digest of what the version is chosen by: the routing key, or the name where there is none.
  var unit: UInt64 = 0
  /// Whether the caller asked for the version or its label.
  var isSelected = false
}

extension TickBatcher {
  /// Name of a call; none where nobody keeps it.
  func name(of call: PredictCall, _ batch: ModelBatch<Writer.Schema>) -> CallName {
    batch.keepsNames && !call.name.isEmpty ? keeper.name(of: call) : CallName()
  }

  /// Rejects a call whose tensors are there.
  func reject(
    _ call: PredictCall, _ error: ServingError, _ batch: ModelBatch<Writer.Schema>, _ writer: Writer
  ) {
    reject(call.address, error, batch, writer)
    guard let tap = batch.capture else { return }
    let key = name(of: call, batch).key
    tap.end(call.tensors, CapturedEnd(call.address, key, arrival: call.arrival, error, at: writer.now()), nil)
  }
}
