internal import Glibc
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
    /// The run found its texts at fault.
    case failed(ServingError)
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
  /// Outputs that ``output`` has, one bit each: those wanted, and what else is kept of them.
  var collected: UInt64 = 0
  var extent = BatchExtent.zero
  /// What is captured of it; ``request`` is what it speaks of.
  var capture = CaptureTicket.unwanted
  /// Whether its answer is to be kept.
  var isCached = false
  var name = CallName()
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
  let memory: CallMemory
  /// Whether the call is used again. A call with a large answer is not: its memory lives on until its peer has taken it.
  let isPooled: Bool
  private var inputFloats = 0
  /// Place among all calls of its loop.
  fileprivate var place = 0
  /// Floats that it counts for in its loop.
  fileprivate var chargedFloats = 0

  init(memory: CallMemory, isPooled: Bool, mailbox: Mailbox) {
    self.mailbox = mailbox
    self.memory = memory
    self.isPooled = isPooled
  }

  /// Divides the memory into inputs and, behind them, outputs.
  func layOut(inputFloats: Int, outputFloats: Int) {
    precondition(inputFloats + outputFloats <= memory.capacityFloats, "a call does not fit its memory")
    self.inputFloats = inputFloats
  }

  var input: UnsafeMutablePointer<Float> { memory.floats }
  /// Request to capture, behind the bound rows.
  var request: UnsafeMutableRawPointer { UnsafeMutableRawPointer(memory.floats) + capture.offset }
  var output: UnsafeMutablePointer<Float> { memory.floats + inputFloats }
}

/// Memory for the rows and the answer of one call.
///
/// Large blocks are mappings of their own, of which pages go back to the system as soon as they were read for the last
/// time: to give back 60 MiB at once would hold up a loop for some 5 ms. `@unchecked Sendable`: one thread uses it at a
/// time, as ``QueuedCall`` says; a loop that keeps it for an answer is its only user from then on.
public final class CallMemory: @unchecked Sendable {
  let floats: UnsafeMutablePointer<Float>
  let capacityFloats: Int
  private let isMapped: Bool
  /// Bytes at the begin that were given back.
  private var bytesDiscarded = 0

  /// From here on a block is a mapping.
  private static let mappedBytesMin = 256 << 10
  /// Bytes given back at a time, some 15 µs, and how often in one go.
  private static let discardBytes = 256 << 10
  private static let discardStepsMax = 4

  /// - Returns: nil if the system has no memory.
  init?(floats count: Int) {
    capacityFloats = max(count, 1)
    let bytes = capacityFloats * MemoryLayout<Float>.size
    isMapped = bytes >= Self.mappedBytesMin
    let block = isMapped ? mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : malloc(bytes)
    guard let block, block != MAP_FAILED else { return nil }
    floats = block.bindMemory(to: Float.self, capacity: capacityFloats)
  }

  deinit {
    if isMapped {
      munmap(floats, capacityFloats * MemoryLayout<Float>.size)
    } else {
      free(floats)
    }
  }

  /// Gives back some of what lies before an address, which is not read again. Called after every piece of an answer.
  public func discard(before end: UnsafePointer<Float>) {
    guard isMapped else { return }
    let start = UnsafeMutableRawPointer(floats)
    let bytes = UnsafeRawPointer(end) - UnsafeRawPointer(start)
    for _ in 0..<Self.discardStepsMax where bytes >= bytesDiscarded + Self.discardBytes {
      madvise(start + bytesDiscarded, Self.discardBytes, MADV_DONTNEED)
      bytesDiscarded += Self.discardBytes
    }
  }
}

/// The calls of one loop that are with the workers, and those that are free for the next ones, by size.
///
/// Steady traffic takes calls from the slab and gives them back, and allocates nothing. All calls together, free ones
/// included, take at most ``Limits/queuedFloatsMax``; one that is alone may be larger, and is not kept. Confined to its
/// loop.
struct CallSlab: ~Copyable {
  private let mailbox: Mailbox
  /// Free calls whose memory is 2ⁿ floats, at index n.
  private var free: [[QueuedCall]] = Array(repeating: [], count: 48)
  /// All calls, given out or free: the loop owns them, workers only borrow.
  private var all: [QueuedCall] = []
  /// Floats of the calls given out, large answers left out: those count as output.
  private(set) var floatsTaken = 0
  /// Floats of all calls that are used again.
  private(set) var floatsHeld = 0

  /// log₂ of the smallest memory.
  private static let sizeMin = 10

  init(mailbox: Mailbox) { self.mailbox = mailbox }

  /// A call with memory for so many floats; nil if the calls of this loop would hold too much memory. A call that is
  /// alone may be of any size.
  mutating func take(inputFloats: Int, outputFloats: Int, isLarge: Bool) -> QueuedCall? {
    let floats = inputFloats + outputFloats
    let size = max(Self.sizeMin, Int.bitWidth - max(floats - 1, 1).leadingZeroBitCount)
    let charged = isLarge ? inputFloats : 1 << size
    guard floatsTaken == 0 || floatsTaken + charged <= Limits.queuedFloatsMax else { return nil }
    let call: QueuedCall
    if !isLarge, let used = free[size].popLast() {
      call = used
    } else {
      if !isLarge { makeRoom(for: 1 << size) }
      guard let memory = CallMemory(floats: isLarge ? floats : 1 << size) else { return nil }
      call = QueuedCall(memory: memory, isPooled: !isLarge, mailbox: mailbox)
      call.place = all.count
      all.append(call)
      if !isLarge { floatsHeld += memory.capacityFloats }
    }
    call.chargedFloats = charged
    floatsTaken += charged
    return call
  }

  mutating func giveBack(_ call: QueuedCall) {
    floatsTaken -= call.chargedFloats
    call.lane = nil
    call.owner = nil
    guard call.isPooled, floatsHeld <= Limits.queuedFloatsMax else { return remove(call) }
    free[call.memory.capacityFloats.trailingZeroBitCount].append(call)
  }

  /// Frees calls of other sizes, the largest first, until another of `capacity` floats may be held: lists that kept what
  /// each size needed at its peak held fifteen times as much as all calls may take.
  private mutating func makeRoom(for capacity: Int) {
    for size in free.indices.reversed() {
      while floatsHeld + capacity > Limits.queuedFloatsMax, let call = free[size].popLast() { remove(call) }
    }
  }

  private mutating func remove(_ call: QueuedCall) {
    if call.isPooled { floatsHeld -= call.memory.capacityFloats }
    let last = all.removeLast()
    guard last !== call else { return }
    last.place = call.place
    all[call.place] = last
  }

  /// Frees unused calls, the largest first, until those of this loop hold no more than is kept for the next ones. Called
  /// about twice a second, traffic or not: what a peak took must not stay.
  mutating func trim() {
    var size = free.count - 1
    while floatsHeld > Limits.queuedFloatsKept, size >= Self.sizeMin {
      guard let call = free[size].popLast() else {
        size -= 1
        continue
      }
      remove(call)
    }
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
