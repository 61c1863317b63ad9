public import NeedletailCore

/// A decoded request. Borrows: it lives until the arena's next reset, and no longer than the frame.
public struct RequestView {
  public enum Call {
    case predict(PredictView)
    case health
    case metrics
    case listModels
    case describeModel(DescribeView)
    /// The key as sent.
    case authenticate(UnsafeRawBufferPointer)
    /// At most `limit` events after a sequence number; 0: all.
    case events(after: UInt64, limit: UInt32)
    /// Name of the model as sent; take one step back, or only tell.
    case rollout(model: UnsafeRawBufferPointer, isUndo: Bool)
    /// No call, or one that this server does not know: `UNIMPLEMENTED`.
    case none
  }

  public var id: UInt64
  /// Budget from the arrival of the frame's last byte; 0: none.
  public var timeoutMicroseconds: UInt32
  public var call: Call
}

/// A predict call as sent; names are bytes, unchecked.
public struct PredictView {
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector
  public var tensors: UnsafeBufferPointer<TensorView>
  /// Names of the outputs wanted; empty: all.
  public var outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  public var routingKey: UnsafeRawBufferPointer
  /// A level that this server does not know is the lowest one.
  public var priority = CallPriority.interactive
}

/// What of a predict call decides whether it is taken on.
public struct PredictPeek {
  public var id: UInt64
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector
  public var routingKey: UnsafeRawBufferPointer
  public var priority: CallPriority
  /// As the first tensor's shape says, whatever else it holds; 1 without one.
  public var rows: UInt64
}

/// A describe call as sent.
public struct DescribeView {
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector
}
