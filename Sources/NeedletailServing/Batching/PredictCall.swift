public import NeedletailCore

/// Place that the answer to a call goes to: a connection's slot in its loop's table, and the call's id there.
///
/// Slots are used again; the generation tells whether the connection that asked still holds the slot. The type is
/// plain bits, so that moving calls about costs no reference counting.
public struct ReplyAddress: Hashable, Sendable {
  public var slot: UInt32
  public var generation: UInt32
  public var id: UInt64
  /// Most bytes that the answer takes, for which room was made; 0: the address is not that of an admitted call.
  public var answerBytes: UInt32
  /// Number by which the loop knows the call while it is traced; 0: it is not.
  public var trace: UInt32

  public init(slot: UInt32, generation: UInt32, id: UInt64, answerBytes: UInt32 = 0, trace: UInt32 = 0) {
    self.slot = slot
    self.generation = generation
    self.id = id
    self.answerBytes = answerBytes
    self.trace = trace
  }

  /// Whether the answer is sent piece by piece from where it was computed.
  public var isLarge: Bool { answerBytes > UInt32(Limits.contiguousAnswerBytesMax) }
}

/// An admitted predict call with its tensors. Borrows the bytes that it arrived in: its rows are bound, or the call
/// is rejected, before ``TickBatcher/bind(_:_:into:)`` returns.
public struct PredictCall {
  public var address: ReplyAddress
  /// Time at which the last byte arrived.
  public var arrival: Instant
  /// Time from the first byte to the last.
  public var receiveMicroseconds: UInt32
  public var deadline: Deadline
  public var priority: CallPriority
  public var tensors: UnsafeBufferPointer<TensorView>
  /// Names of the outputs wanted; empty: all outputs.
  public var outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  /// Name that the caller gave the call, by which outcomes find it later; empty: none.
  public var name = UnsafeRawBufferPointer(start: nil, count: 0)
  /// What the version was chosen by, where the name is something else; empty: the name.
  public var routingKey = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Whether the caller asked for the version or its label.
  public var isSelected = false

  public init(
    address: ReplyAddress, arrival: Instant, receiveMicroseconds: UInt32 = 0, deadline: Deadline,
    priority: CallPriority = .interactive, tensors: UnsafeBufferPointer<TensorView>,
    outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    self.address = address
    self.arrival = arrival
    self.receiveMicroseconds = receiveMicroseconds
    self.deadline = deadline
    self.priority = priority
    self.tensors = tensors
    self.outputs = outputs
  }
}

/// A call whose rows stand bound in a workspace: all that is left of it until its batch runs.
struct BoundCall {
  var address: ReplyAddress
  var arrival: Instant
  var receiveMicroseconds: UInt32
  var deadline: Deadline
  /// Outputs wanted, one bit each.
  var selection: UInt64
  /// Row of the workspace's input at which the call begins.
  var firstRow: Int
  var extent: BatchExtent
  var capture = CaptureTicket.unwanted
  /// Where its answer is kept.
  var cacheTicket = AnswerRing.Ticket.none
  var name = CallName()
}

/// Cost of a computed call, as its answer reports it.
public struct AnswerTiming: Hashable, Sendable {
  /// Time from the arrival of the call's last byte to the start of its batch.
  public var queueMicroseconds: UInt32
  /// Time that the whole batch took.
  public var computeMicroseconds: UInt32
  /// Rows of the batch, this call's included.
  public var batchRows: UInt32

  public init(queueMicroseconds: UInt32, computeMicroseconds: UInt32, batchRows: UInt32) {
    self.queueMicroseconds = queueMicroseconds
    self.computeMicroseconds = computeMicroseconds
    self.batchRows = batchRows
  }
}
