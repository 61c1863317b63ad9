public import NeedletailCore

/// A predict call as it came off the wire. Borrows the frame it stands in: it is bound, or refused,
/// before ``TickBatcher/admit(_:into:)`` returns.
public struct PredictCall {
  public var address: ReplyAddress
  /// When its last byte arrived.
  public var arrival: Instant
  /// From its first byte to its last.
  public var receiveMicroseconds: UInt32
  public var deadline: Deadline
  /// UTF-8 as sent, unchecked.
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector
  public var tensors: UnsafeBufferPointer<TensorView>
  /// Names of the outputs wanted; empty: all.
  public var outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  /// Calls with the same key see the same version of a split; empty: none was sent.
  public var routingKey: UnsafeRawBufferPointer
  public var priority: CallPriority

  public init(
    address: ReplyAddress, arrival: Instant, receiveMicroseconds: UInt32 = 0, timeoutMicroseconds: UInt32,
    model: UnsafeRawBufferPointer, selector: ModelSelector, tensors: UnsafeBufferPointer<TensorView>,
    outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>,
    routingKey: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    priority: CallPriority = .interactive
  ) {
    self.address = address
    self.arrival = arrival
    self.receiveMicroseconds = receiveMicroseconds
    deadline = Deadline(arrival: arrival, timeoutMicroseconds: timeoutMicroseconds)
    self.model = model
    self.selector = selector
    self.tensors = tensors
    self.outputs = outputs
    self.routingKey = routingKey
    self.priority = priority
  }
}

/// A call whose rows stand bound in a workspace: all that is left of it until its batch runs.
struct PredictJob {
  var address: ReplyAddress
  var arrival: Instant
  var receiveMicroseconds: UInt32
  var deadline: Deadline
  var selection: UInt64
  /// Of the workspace's input.
  var firstRow: Int
  var rows: Int
}
