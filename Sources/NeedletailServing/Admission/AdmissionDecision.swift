public import NeedletailCore

/// Head of a predict call: all that admission looks at. Borrows the bytes that the call arrived in.
///
/// A head is read before any tensor is, so that a rejected call costs little more than its framing.
public struct CallHead {
  public var deadline: Deadline
  /// Name of the model: UTF-8 as sent, unchecked.
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector
  /// Calls with the same key reach the same version of a split; empty: no key was sent.
  public var routingKey: UnsafeRawBufferPointer
  public var priority: CallPriority
  /// Rows that the call's first tensor declares. A call whose tensors turn out to hold other numbers of rows fails
  /// when it is bound, so that admission may trust this figure.
  public var rows: UInt64
  /// Bytes of all tensors as they were sent. Texts have no more, and by them is estimated how many tokens they have.
  public var inputBytes: Int

  public init(
    deadline: Deadline, model: UnsafeRawBufferPointer, selector: ModelSelector,
    routingKey: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    priority: CallPriority = .interactive, rows: UInt64, inputBytes: Int = 0
  ) {
    self.deadline = deadline
    self.model = model
    self.selector = selector
    self.routingKey = routingKey
    self.priority = priority
    self.rows = rows
    self.inputBytes = inputBytes
  }
}

/// Decision about one predict call. Admission makes it once, from the call's head; nothing later asks again whether
/// there is time or room for the call.
public struct AdmissionDecision<Schema: AnyObject> {
  public enum Outcome {
    /// Bind the call into the loop's scratch; the loop computes it at the end of this tick.
    case run(ModelBatch<Schema>)
    /// Bind the call into memory of its own; a worker computes it.
    case queue(ModelBatch<Schema>)
    /// Answer with this error. The call was not executed and has been counted.
    case reject(ServingError)
  }

  public let outcome: Outcome
  /// Time for which the peer may go unread after this call, so that what it sends meanwhile is handled together.
  /// 0: the peer must be read at once. `.max`: there is no pressure, and admission has no wish.
  public let readPauseNanoseconds: UInt64
  /// Most bytes of the answer with all outputs; 0 for a rejection.
  public let answerBytesMax: Int

  init(_ outcome: Outcome, readPauseNanoseconds: UInt64, answerBytesMax: Int = 0) {
    self.outcome = outcome
    self.readPauseNanoseconds = readPauseNanoseconds
    self.answerBytesMax = answerBytesMax
  }

  /// Batch of the call's version; nil for a rejection.
  var batch: ModelBatch<Schema>? {
    switch outcome {
    case .run(let batch), .queue(let batch): batch
    case .reject: nil
    }
  }

  /// Rejection for a reason that lies outside of the batcher, such as the limits of a key.
  public static func reject(_ error: ServingError) -> Self { Self(.reject(error), readPauseNanoseconds: 0) }
}

/// Where there was too much to do; the value of the metric label `reason`.
enum ShedReason: String, CaseIterable {
  /// More work than fits into a tick of the event loop.
  case tick
  /// More work waits for workers than may wait, or a call waited too long.
  case queue
  /// The waiting calls of a loop, or all answers that wait for their peers, hold too much memory.
  case memory
}
