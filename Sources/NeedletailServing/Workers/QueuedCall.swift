internal import NeedletailCore
internal import Synchronization

/// A call on its way through the workers: its bound rows, and memory for their answers.
///
/// Made by a loop, kept by it, and used for one call after the other. `@unchecked Sendable`: exactly one thread
/// touches it at a time, the loop until it is submitted, then a worker, then the loop again; the locks of the pool and
/// of the mailbox lie in between.
final class QueuedCall: @unchecked Sendable {
  enum Outcome {
    case waiting
    case answered
    /// The deadline passed before the call ran.
    case expired
    /// The call waited longer than the queue may make a call wait, or found no place in it.
    case shed
  }

  var address = ReplyAddress(slot: 0, generation: 0, id: 0)
  var arrival = Instant(nanoseconds: 0)
  var receiveMicroseconds: UInt32 = 0
  var deadline = Deadline(arrival: Instant(nanoseconds: 0), timeoutMicroseconds: 0)
  var priority = CallPriority.interactive
  /// Outputs wanted, one bit each.
  var selection: UInt64 = 0
  var extent = BatchExtent.zero
  /// Lane in which the call waits.
  var lane: WorkerLane?
  /// The loop's ``ModelBatch`` of the version. Opaque, because that type depends on the loop's response writer.
  var owner: UnsafeMutableRawPointer?
  var outcome = Outcome.waiting
  var timing = AnswerTiming(queueMicroseconds: 0, computeMicroseconds: 0, batchRows: 0)
  /// End of the computation.
  var computed = Instant(nanoseconds: 0)

  /// Mailbox of the loop that the call belongs to.
  let mailbox: Mailbox
  let capacityFloats: Int
  private let memory: UnsafeMutablePointer<Float>
  private var inputFloats = 0

  init(capacityFloats: Int, mailbox: Mailbox) {
    self.mailbox = mailbox
    self.capacityFloats = capacityFloats
    memory = .allocate(capacity: capacityFloats)
  }

  deinit { memory.deallocate() }

  /// Divides the memory into inputs and, behind them, outputs.
  func layOut(inputFloats: Int, outputFloats: Int) {
    precondition(inputFloats + outputFloats <= capacityFloats, "a call does not fit its memory")
    self.inputFloats = inputFloats
  }

  var input: UnsafeMutablePointer<Float> { memory }
  var output: UnsafeMutablePointer<Float> { memory + inputFloats }
}

/// The calls of one loop that are with the workers, and those that are free for the next ones, by size.
///
/// Steady traffic takes calls from the slab and gives them back, and allocates nothing. Confined to its loop.
struct CallSlab: ~Copyable {
  private let mailbox: Mailbox
  /// Free calls whose memory is 2ⁿ floats, at index n.
  private var free: [[QueuedCall]] = Array(repeating: [], count: 48)
  /// All calls, given out or free: the loop owns them, workers only borrow.
  private var all: [QueuedCall] = []
  /// Floats of the calls given out.
  private(set) var floatsTaken = 0
  /// Floats of all calls.
  private(set) var floatsHeld = 0

  /// log₂ of the smallest memory.
  private static let sizeMin = 10

  init(mailbox: Mailbox) { self.mailbox = mailbox }

  /// A call with memory for `floats` floats; nil if the calls of this loop would hold too much memory. A call that is
  /// alone may be of any size.
  mutating func take(floats: Int) -> QueuedCall? {
    let size = max(Self.sizeMin, Int.bitWidth - max(floats - 1, 1).leadingZeroBitCount)
    let capacity = 1 << size
    guard floatsTaken == 0 || floatsTaken + capacity <= Limits.queuedFloatsMax else { return nil }
    let call: QueuedCall
    if let used = free[size].popLast() {
      call = used
    } else {
      call = QueuedCall(capacityFloats: capacity, mailbox: mailbox)
      all.append(call)
      floatsHeld += capacity
    }
    floatsTaken += capacity
    return call
  }

  mutating func giveBack(_ call: QueuedCall) {
    floatsTaken -= call.capacityFloats
    call.lane = nil
    call.owner = nil
    free[call.capacityFloats.trailingZeroBitCount].append(call)
  }

  /// Frees unused calls; a loop without traffic calls this about once a second.
  mutating func trim() {
    guard floatsTaken == 0, floatsHeld > Limits.queuedFloatsKept else { return }
    for size in free.indices { free[size].removeAll(keepingCapacity: true) }
    all.removeAll(keepingCapacity: true)
    floatsHeld = 0
  }
}

/// Place where workers leave a loop's finished calls. There is one wake-up a batch: the worker that finds the mailbox
/// empty wakes the loop, others do not.
public final class Mailbox: Sendable {
  private let calls: Mutex<[Unmanaged<QueuedCall>]>
  private let wake: @Sendable () -> Void

  /// - Parameter wake: called on a worker's thread; makes the loop call ``TickBatcher/collect(into:)``.
  public init(wake: @escaping @Sendable () -> Void) {
    var places: [Unmanaged<QueuedCall>] = []
    places.reserveCapacity(256)
    calls = Mutex(places)
    self.wake = wake
  }

  func post(_ finished: ArraySlice<Unmanaged<QueuedCall>>) {
    let wasEmpty = calls.withLock { calls in
      let wasEmpty = calls.isEmpty
      calls.append(contentsOf: finished)
      return wasEmpty
    }
    if wasEmpty { wake() }
  }

  /// Takes all calls; `taken` gives its memory for the next ones.
  func empty(into taken: inout [Unmanaged<QueuedCall>]) {
    taken.removeAll(keepingCapacity: true)
    calls.withLock { swap(&$0, &taken) }
  }
}
