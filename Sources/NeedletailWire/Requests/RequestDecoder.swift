public import NeedletailCore

/// Reads the `Request` of one frame, without copying what it can point to.
///
/// Written by hand rather than handed to protobuf-c, for the budget's sake: protobuf-c spends 60 to
/// 90 bytes on a cell of a string column that takes 5 on the wire, so honest requests would be
/// refused with the hostile ones, and it copies every byte of every tensor. Here an unknown field
/// costs nothing, an element of a string tensor 16 bytes, and a tensor 72 beside its shape.
/// A string keeps its length, so a NUL inside a name cannot shorten it to another name.
/// The tests hold this decoder against protobuf-c and against Google's protobuf.
public enum RequestDecoder {
  /// - Parameters:
  ///   - frame: the bytes after the length word; the view borrows them.
  ///   - arena: reset here; it owns the view's arrays until its next reset.
  /// - Throws: `.invalidArgument`, which goes to the id that ``peekID(_:)`` finds.
  /// - Complexity: O(bytes of keys, names and strings), two passes; tensor data is not touched.
  public static func decode(
    _ frame: UnsafeRawBufferPointer, arena: MessageArena
  ) throws(ServingError) -> RequestView {
    arena.reset(budgetBytes: MessageArena.budgetBytes(frameBytes: frame.count))
    var envelope = Envelope()
    try envelope.read(frame)
    let call: RequestView.Call =
      switch envelope.call {
      case .predict: .predict(try PredictDecoder.decode(frame, from: envelope.callOffset, arena: arena))
      case .health: .health
      case .metrics: .metrics
      case .listModels: .listModels
      case .describeModel: .describeModel(try describe(frame, from: envelope.callOffset))
      case .authenticate: .authenticate(try authenticate(frame, from: envelope.callOffset))
      case .events: try events(frame, from: envelope.callOffset)
      case .rollout: try rollout(frame, from: envelope.callOffset)
      case nil: .none
      }
    return RequestView(id: envelope.id, timeoutMicroseconds: envelope.timeoutMicroseconds, call: call)
  }

  /// The request's id as far as the bytes can be read, or 0: an error about an undecodable request
  /// should still reach its caller.
  public static func peekID(_ frame: UnsafeRawBufferPointer) -> UInt64 {
    var envelope = Envelope()
    // What was read before the fault is the best there is.
    try? envelope.read(frame)
    return envelope.id
  }

  /// What a predict call asks for, without a look at its tensors: enough to refuse it. Nil where the
  /// frame is no predict call, or cannot be read so far.
  /// - Complexity: O(number of tensors); their bytes are not touched, nothing is kept.
  public static func peekPredict(_ frame: UnsafeRawBufferPointer) -> PredictPeek? {
    var envelope = Envelope()
    guard (try? envelope.read(frame)) != nil, envelope.call == .predict, envelope.id != 0 else { return nil }
    return try? PredictDecoder.peek(frame, from: envelope.callOffset, id: envelope.id)
  }

  private static func describe(
    _ frame: UnsafeRawBufferPointer, from offset: Int
  ) throws(ServingError) -> DescribeView {
    var view = DescribeView(model: .init(start: nil, count: 0), selector: .serving)
    var calls = CallPayloads(frame, from: offset, call: .describeModel)
    while let payload = try calls.next() {
      var fields = FieldReader(payload, of: "DescribeModelRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .bytes(let name)): view.model = name
        case (2, .varint(let version)): view.selector = .version(version)
        case (3, .bytes(let label)): view.selector = .label(label)
        default: break
        }
      }
    }
    return view
  }

  private static func authenticate(
    _ frame: UnsafeRawBufferPointer, from offset: Int
  ) throws(ServingError) -> UnsafeRawBufferPointer {
    var key = UnsafeRawBufferPointer(start: nil, count: 0)
    var calls = CallPayloads(frame, from: offset, call: .authenticate)
    while let payload = try calls.next() {
      var fields = FieldReader(payload, of: "AuthenticateRequest")
      while let field = try fields.next() {
        if field.number == 1, case .bytes(let bytes) = field.value { key = bytes }
      }
    }
    return key
  }

  private static func events(_ frame: UnsafeRawBufferPointer, from offset: Int) throws(ServingError) -> RequestView.Call
  {
    var after: UInt64 = 0
    var limit: UInt32 = 0
    var calls = CallPayloads(frame, from: offset, call: .events)
    while let payload = try calls.next() {
      var fields = FieldReader(payload, of: "EventsRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .varint(let value)): after = value
        case (2, .varint(let value)): limit = UInt32(truncatingIfNeeded: value)
        default: break
        }
      }
    }
    return .events(after: after, limit: limit)
  }

  /// - Throws: `.invalidArgument` for an action that this server does not know: doing another is worse.
  private static func rollout(
    _ frame: UnsafeRawBufferPointer, from offset: Int
  ) throws(ServingError) -> RequestView.Call {
    var model = UnsafeRawBufferPointer(start: nil, count: 0)
    var action: UInt64 = 0
    var calls = CallPayloads(frame, from: offset, call: .rollout)
    while let payload = try calls.next() {
      var fields = FieldReader(payload, of: "RolloutRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .bytes(let name)): model = name
        case (2, .varint(let value)): action = value
        default: break
        }
      }
    }
    guard action <= 1 else {
      throw .invalidArgument("action: expected ROLLOUT_SHOW or ROLLOUT_UNDO, found \(action)")
    }
    return .rollout(model: model, isUndo: action == 1)
  }
}

/// Field numbers of the calls in `Request`.
enum CallNumber: UInt32 {
  case predict = 3
  case health = 4
  case metrics = 5
  case listModels = 6
  case describeModel = 7
  case authenticate = 8
  case events = 9
  case rollout = 10
}

/// The fields of a `Request` itself.
private struct Envelope {
  var id: UInt64 = 0
  var timeoutMicroseconds: UInt32 = 0
  /// The last member of the oneof wins.
  var call: CallNumber?
  /// Where the call's field begins. Should it stand there more than once, from its first occurrence
  /// after a different call: protobuf merges those that follow.
  var callOffset = 0

  mutating func read(_ frame: UnsafeRawBufferPointer) throws(ServingError) {
    var fields = FieldReader(frame, of: "Request")
    while true {
      let offset = fields.offset
      guard let field = try fields.next() else { return }
      switch (field.number, field.value) {
      case (1, .varint(let value)): id = value
      case (2, .varint(let value)): timeoutMicroseconds = UInt32(truncatingIfNeeded: value)
      case (_, .bytes):
        guard let next = CallNumber(rawValue: field.number) else { continue }
        if next != call {
          call = next
          callOffset = offset
        }
      default: break
      }
    }
  }
}

/// The occurrences of one call in a frame whose envelope was read before: nearly always one.
struct CallPayloads {
  private var fields: FieldReader
  private let call: CallNumber

  init(_ frame: UnsafeRawBufferPointer, from offset: Int, call: CallNumber) {
    fields = FieldReader(frame, of: "Request", from: offset)
    self.call = call
  }

  mutating func next() throws(ServingError) -> UnsafeRawBufferPointer? {
    while let field = try fields.next() {
      if field.number == call.rawValue, case .bytes(let payload) = field.value { return payload }
    }
    return nil
  }
}
