internal import NeedletailCore

/// A call on its way through the workers: its rows, bound, and room for their answers.
///
/// Made by a loop, kept by it, and used for one call after the other. `@unchecked Sendable`: exactly one
/// thread touches it at a time, the loop until it is submitted, then a worker, then the loop again; the
/// locks of the pool and of the mailbox lie in between.
final class QueuedCall: @unchecked Sendable {
  enum Outcome {
    case waiting
    case answered
    case expired
    /// Waited longer than the queue may make a call wait, or found no place in it.
    case shed
  }

  var address = ReplyAddress(slot: 0, generation: 0, id: 0)
  var arrival = Instant(nanoseconds: 0)
  var receiveMicroseconds: UInt32 = 0
  var deadline = Deadline(arrival: Instant(nanoseconds: 0), timeoutMicroseconds: 0)
  var priority = CallPriority.interactive
  var selection: UInt64 = 0
  var rows = 0
  /// Of the pool: where it waits.
  var lane: WorkerLane?
  /// The loop's own scratch for the version; opaque, for its type has the sink's.
  var owner: UnsafeMutableRawPointer?
  var outcome = Outcome.waiting
  var timing = AnswerTiming(queueMicroseconds: 0, computeMicroseconds: 0, batchRows: 0)
  /// When it was computed.
  var computed = Instant(nanoseconds: 0)

  /// Of the loop that it belongs to.
  let mailbox: Mailbox
  /// Of `memory`.
  let capacityFloats: Int
  private let memory: UnsafeMutablePointer<Float>
  private var inputFloats = 0

  init(capacityFloats: Int, mailbox: Mailbox) {
    self.mailbox = mailbox
    self.capacityFloats = capacityFloats
    memory = .allocate(capacity: capacityFloats)
  }

  deinit { memory.deallocate() }

  /// Lays out room for inputs, with that for outputs behind it.
  func layOut(inputFloats: Int, outputFloats: Int) {
    precondition(inputFloats + outputFloats <= capacityFloats, "a call does not fit its room")
    self.inputFloats = inputFloats
  }

  var input: UnsafeMutablePointer<Float> { memory }
  var output: UnsafeMutablePointer<Float> { memory + inputFloats }
}
