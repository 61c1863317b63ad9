internal import NeedletailCore
internal import NeedletailProtobuf

/// One inference request of the Open Inference Protocol: JSON, perhaps with tensors as bytes behind it (the binary tensor
/// data extension), or one tensor of bytes alone.
///
/// ``read(_:jsonBytes:arena:)`` finds out all that decides whether a call is taken on, and ``tensors(arena:)`` reads the
/// elements of those that are. What it points to lies in the body and the arena; its own arrays are kept from request to
/// request.
struct InferRequest {
  /// Level, label and key of a call, as the parameters of a request name them.
  struct Head {
    var label: UnsafeRawBufferPointer?
    var routingKey = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Value of `id`, which names the call for outcomes that come later; empty without one, and for one too long for it.
    var key = UnsafeRawBufferPointer(start: nil, count: 0)
    var priority = CallPriority.interactive
    var timeoutMicroseconds: UInt32 = 0
    /// Rows that the first tensor's shape declares; 1 without one.
    var rows: UInt64 = 1
  }

  /// One tensor, of which only the elements are unread.
  struct Input {
    var name = UnsafeRawBufferPointer(start: nil, count: 0)
    var type = ElementType.float32
    var hasType = false
    var shape = UnsafeBufferPointer<UInt64>(start: nil, count: 0)
    var hasShape = false
    /// JSON of `data`; nil: none.
    var data: UnsafeRawBufferPointer?
    /// Value of `binary_data_size`; nil: the elements are in `data`.
    var binaryBytes: Int?
    var binary = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// `datatype` of the protocol.
  enum ElementType: CaseIterable {
    case bool, uint8, uint16, uint32, uint64, int8, int16, int32, int64, float16, float32, float64, bytes

    /// Made once: `allCases` may make an array each time.
    static let all = allCases

    var name: StaticString {
      switch self {
      case .bool: "BOOL"
      case .uint8: "UINT8"
      case .uint16: "UINT16"
      case .uint32: "UINT32"
      case .uint64: "UINT64"
      case .int8: "INT8"
      case .int16: "INT16"
      case .int32: "INT32"
      case .int64: "INT64"
      case .float16: "FP16"
      case .float32: "FP32"
      case .float64: "FP64"
      case .bytes: "BYTES"
      }
    }

    /// The engine's type of the same bytes; nil where it has none.
    var dataType: DataType? {
      switch self {
      case .bool: .bool
      case .uint8: .uint8
      case .int8: .int8
      case .int16: .int16
      case .int32: .int32
      case .int64: .int64
      case .float32: .float32
      case .float64: .float64
      case .bytes: .string
      case .uint16, .uint32, .uint64, .float16: nil
      }
    }

    /// Whole numbers that the type holds; nil: it holds others too.
    var range: ClosedRange<Double>? {
      switch self {
      case .uint8: 0...255
      case .uint16: 0...65_535
      case .uint32: 0...4_294_967_295
      case .uint64: 0...0x1p64
      case .int8: -128...127
      case .int16: -32_768...32_767
      case .int32: -2_147_483_648...2_147_483_647
      case .int64: -0x1p63...0x1p63
      case .bool, .float16, .float32, .float64, .bytes: nil
      }
    }
  }

  private(set) var head = Head()
  /// Value of `id` with its quotes; empty without one.
  private(set) var idText: [UInt8] = []
  /// Whether outputs come as bytes unless they say otherwise.
  private(set) var wantsBinary = false
  /// Outputs that say for themselves how they come.
  private(set) var choices: [OutputChoice] = []
  /// Names of all of them, one after the other.
  private var choiceNames: [UInt8] = []
  private(set) var inputs: [Input] = []
  private(set) var outputs: [UnsafeRawBufferPointer] = []

  /// How one output comes.
  struct OutputChoice {
    fileprivate var name: Range<Int>
    var isBinary: Bool
  }

  /// Whether an output comes as bytes.
  func isBinary(_ name: [UInt8]) -> Bool {
    for choice in choices where choiceNames[choice.name].elementsEqual(name) { return choice.isBinary }
    return wantsBinary
  }

  private mutating func removeAll() {
    head = Head()
    idText.removeAll(keepingCapacity: true)
    wantsBinary = false
    choices.removeAll(keepingCapacity: true)
    choiceNames.removeAll(keepingCapacity: true)
    inputs.removeAll(keepingCapacity: true)
    outputs.removeAll(keepingCapacity: true)
  }

  // MARK: head

  /// Reads everything but the elements of tensors.
  /// - Parameters:
  ///   - jsonBytes: bytes of JSON at the front of the body; nil: all; 0: the body is one tensor's elements.
  ///   - arena: reset; it owns names and shapes.
  mutating func read(
    _ body: UnsafeRawBufferPointer, jsonBytes: Int?, arena: MessageArena
  ) throws(ServingError) {
    removeAll()
    arena.reset(budgetBytes: MessageArena.budgetBytes(frameBytes: body.count))
    if jsonBytes == 0 { return try readRaw(body, arena) }
    let count = jsonBytes ?? body.count
    guard count <= body.count else {
      throw .invalidArgument(
        "Inference-Header-Content-Length: expected at most the \(body.count) bytes of the body, found \(count)")
    }
    var cursor = JSONCursor(UnsafeRawBufferPointer(rebasing: body[..<count]))
    var isFirst = true
    try cursor.enter(UInt8(ascii: "{"), "an object")
    while try cursor.next(until: UInt8(ascii: "}"), &isFirst) {
      let key = try cursor.key()
      if key.elementsEqual("inputs".utf8) {
        try readInputs(&cursor, arena)
      } else if key.elementsEqual("outputs".utf8) {
        try readOutputs(&cursor, arena)
      } else if key.elementsEqual("parameters".utf8) {
        try readParameters(&cursor, arena)
      } else if key.elementsEqual("id".utf8) {
        let id = try cursor.text("a string for id")
        guard id.raw.count <= Limits.httpRequestIDBytesMax else {
          throw .invalidArgument(
            "id: expected at most \(Limits.httpRequestIDBytesMax) bytes, found \(id.raw.count)")
        }
        if id.raw.count <= Limits.callKeyBytesMax { head.key = try Self.plain(id, cursor, arena) }
        idText.append(UInt8(ascii: "\""))
        idText.append(contentsOf: id.raw)
        idText.append(UInt8(ascii: "\""))
      } else {
        try cursor.skipValue()
      }
    }
    guard cursor.peek() == nil else { throw cursor.fault("nothing behind the object") }
    guard !inputs.isEmpty else { throw .invalidArgument("inputs: expected at least one tensor, found none") }
    try place(UnsafeRawBufferPointer(rebasing: body[count...]), hasBinary: jsonBytes != nil)
    if let rows = inputs[0].shape.first { head.rows = rows }
  }

  /// A body without JSON is the elements of the only input, one row of them. Which type they have only the model knows:
  /// FP32 is what models of tables of numbers take.
  private mutating func readRaw(_ body: UnsafeRawBufferPointer, _ arena: MessageArena) throws(ServingError) {
    guard body.count > 0, body.count % 4 == 0, let shape = arena.allocate(UInt64.self, count: 2) else {
      throw .invalidArgument("body: expected one row of FP32 elements, found \(body.count) bytes")
    }
    shape[0] = 1
    shape[1] = UInt64(body.count / 4)
    var input = Input()
    input.name = UnsafeRawBufferPointer(start: Self.denseName.utf8Start, count: Self.denseName.utf8CodeUnitCount)
    input.shape = UnsafeBufferPointer(shape)
    input.binaryBytes = body.count
    input.binary = body
    inputs.append(input)
    wantsBinary = true
  }

  /// The name of the one tensor that holds all features.
  private static let denseName: StaticString = "features"

  /// Gives each tensor of bytes its part of what follows the JSON.
  private mutating func place(_ blob: UnsafeRawBufferPointer, hasBinary: Bool) throws(ServingError) {
    var at = 0
    for index in inputs.indices {
      guard let bytes = inputs[index].binaryBytes else {
        guard inputs[index].data != nil else {
          throw input(index, "expected data, or binary_data_size among its parameters, found neither")
        }
        continue
      }
      guard hasBinary else {
        throw input(index, "expected the header Inference-Header-Content-Length beside binary_data_size, found none")
      }
      guard inputs[index].data == nil else { throw input(index, "expected data or binary_data_size, found both") }
      guard bytes <= blob.count - at else {
        throw input(index, "binary_data_size: expected at most \(blob.count - at) bytes that are left, found \(bytes)")
      }
      inputs[index].binary = UnsafeRawBufferPointer(rebasing: blob[at..<(at + bytes)])
      at += bytes
    }
    guard at == blob.count else {
      throw .invalidArgument("body: expected \(at) bytes behind the JSON, found \(blob.count)")
    }
  }

  private mutating func readInputs(_ cursor: inout JSONCursor, _ arena: MessageArena) throws(ServingError) {
    var isFirst = true
    try cursor.enter(UInt8(ascii: "["), "a list of inputs")
    while try cursor.next(until: UInt8(ascii: "]"), &isFirst) {
      guard inputs.count < Limits.inputTensorsMax else {
        throw Self.exceeded("inputs", Limits.inputTensorsMax, "tensors", "tensors_max")
      }
      inputs.append(try Self.readInput(&cursor, arena))
      let index = inputs.count - 1
      guard !inputs[index].name.isEmpty else { throw .invalidArgument("inputs[\(index)]: expected a name, found none") }
      guard inputs[index].hasType else { throw input(index, "expected a datatype, found none") }
      guard inputs[index].hasShape else { throw input(index, "expected a shape, found none") }
    }
  }

  private static func readInput(_ cursor: inout JSONCursor, _ arena: MessageArena) throws(ServingError) -> Input {
    var input = Input()
    var isFirst = true
    try cursor.enter(UInt8(ascii: "{"), "an input")
    while try cursor.next(until: UInt8(ascii: "}"), &isFirst) {
      let key = try cursor.key()
      if key.elementsEqual("name".utf8) {
        input.name = try plain(try cursor.text("a name"), cursor, arena)
      } else if key.elementsEqual("datatype".utf8) {
        let text = try cursor.text("a datatype")
        guard let type = ElementType.all.first(where: { $0.name.isEqual(to: text.raw) }) else {
          throw .invalidArgument(
            "datatype: expected BOOL, INT8 to INT64, UINT8 to UINT64, FP16, FP32, FP64 or BYTES, found "
              + String(decoding: text.raw.prefix(32), as: UTF8.self).quotedForMessage)
        }
        input.type = type
        input.hasType = true
      } else if key.elementsEqual("shape".utf8) {
        input.shape = try readShape(&cursor, arena)
        input.hasShape = true
      } else if key.elementsEqual("data".utf8) {
        guard cursor.peek() == UInt8(ascii: "[") else { throw cursor.fault("a list of elements") }
        input.data = try cursor.skipValue()
      } else if key.elementsEqual("parameters".utf8) {
        try readMembers(&cursor) { (name, cursor) throws(ServingError) in
          guard name.elementsEqual("binary_data_size".utf8) else {
            try cursor.skipValue()
            return
          }
          let bytes = try cursor.count("a number of bytes")
          guard let bytes = Int(exactly: bytes) else { throw cursor.fault("a number of bytes") }
          input.binaryBytes = bytes
        }
      } else {
        try cursor.skipValue()
      }
    }
    return input
  }

  private static func readShape(
    _ cursor: inout JSONCursor, _ arena: MessageArena
  ) throws(ServingError) -> UnsafeBufferPointer<UInt64> {
    guard let shape = arena.allocate(UInt64.self, count: Limits.tensorRankMax) else { throw memoryFault(arena) }
    var rank = 0
    var isFirst = true
    try cursor.enter(UInt8(ascii: "["), "a list of dimensions")
    while try cursor.next(until: UInt8(ascii: "]"), &isFirst) {
      guard rank < Limits.tensorRankMax else {
        throw exceeded("shape", Limits.tensorRankMax, "dimensions", "dimensions_max")
      }
      shape[rank] = try cursor.count("a dimension from 0")
      rank += 1
    }
    return UnsafeBufferPointer(rebasing: shape[..<rank])
  }

  private mutating func readOutputs(_ cursor: inout JSONCursor, _ arena: MessageArena) throws(ServingError) {
    var isFirst = true
    try cursor.enter(UInt8(ascii: "["), "a list of outputs")
    while try cursor.next(until: UInt8(ascii: "]"), &isFirst) {
      guard outputs.count < Limits.outputNamesMax else {
        throw Self.exceeded("outputs", Limits.outputNamesMax, "names", "output_names_max")
      }
      var name = UnsafeRawBufferPointer(start: nil, count: 0)
      var isBinary: Bool?
      try Self.readMembers(&cursor) { (key, cursor) throws(ServingError) in
        if key.elementsEqual("name".utf8) {
          name = try Self.plain(try cursor.text("a name"), cursor, arena)
        } else if key.elementsEqual("parameters".utf8) {
          try Self.readMembers(&cursor) { (key, cursor) throws(ServingError) in
            if key.elementsEqual("binary_data".utf8) {
              isBinary = try cursor.flag("true or false for binary_data")
            } else if key.elementsEqual("classification".utf8), try cursor.count("a number for classification") > 0 {
              throw .unimplemented("outputs: classification: expected none, found it")
            } else if !key.elementsEqual("classification".utf8) {
              try cursor.skipValue()
            }
          }
        } else {
          try cursor.skipValue()
        }
      }
      guard !name.isEmpty else { throw .invalidArgument("outputs: expected a name, found none") }
      outputs.append(name)
      if let isBinary {
        let start = choiceNames.count
        choiceNames.append(contentsOf: name)
        choices.append(OutputChoice(name: start..<choiceNames.count, isBinary: isBinary))
      }
    }
  }

  private mutating func readParameters(_ cursor: inout JSONCursor, _ arena: MessageArena) throws(ServingError) {
    var isFirst = true
    try cursor.enter(UInt8(ascii: "{"), "an object of parameters")
    while try cursor.next(until: UInt8(ascii: "}"), &isFirst) {
      let key = try cursor.key()
      if key.elementsEqual("binary_data_output".utf8) {
        wantsBinary = try cursor.flag("true or false for binary_data_output")
      } else if key.elementsEqual("label".utf8) {
        head.label = try Self.plain(try cursor.text("the name of a label"), cursor, arena)
      } else if key.elementsEqual("routing_key".utf8) {
        head.routingKey = try Self.plain(try cursor.text("a routing key"), cursor, arena)
        guard head.routingKey.count <= Limits.routingKeyBytesMax else {
          let (limit, found) = (Limits.routingKeyBytesMax, head.routingKey.count)
          throw Self.exceeded("routing_key", limit, "bytes", "routing_key_bytes_max", found: found)
        }
      } else if key.elementsEqual("priority".utf8) {
        // As in the binary protocol: 0 is interactive, and a level that this server does not know the lowest.
        head.priority = try cursor.count("a level from 0") == 0 ? .interactive : .bulk
      } else if key.elementsEqual("timeout".utf8) {
        head.timeoutMicroseconds = UInt32(clamping: try cursor.count("a number of microseconds"))
      } else {
        try cursor.skipValue()
      }
    }
  }

  private static func readMembers(
    _ cursor: inout JSONCursor,
    _ member: (_ key: UnsafeRawBufferPointer, _ cursor: inout JSONCursor) throws(ServingError) -> Void
  ) throws(ServingError) {
    var isFirst = true
    try cursor.enter(UInt8(ascii: "{"), "an object")
    while try cursor.next(until: UInt8(ascii: "}"), &isFirst) { try member(try cursor.key(), &cursor) }
  }

  /// What a string means; its own bytes where it has no escapes.
  private static func plain(
    _ text: JSONCursor.Text, _ cursor: JSONCursor, _ arena: MessageArena
  ) throws(ServingError) -> UnsafeRawBufferPointer {
    guard text.hasEscapes else { return text.raw }
    guard let memory = arena.allocate(bytes: text.raw.count) else { throw memoryFault(arena) }
    guard let count = JSONCursor.unescape(text.raw, to: memory) else { throw cursor.fault("a string of valid escapes") }
    return UnsafeRawBufferPointer(start: memory, count: count)
  }

  // MARK: sentences

  @inline(never)
  func input(_ index: Int, _ message: String) -> ServingError {
    let name = String(decoding: inputs[index].name.prefix(Limits.featureNameBytesMax), as: UTF8.self)
    return .invalidArgument("input \(name.quotedForMessage): \(message)", .init(field: name))
  }

  func tooMany(_ index: Int, _ count: Int) -> ServingError {
    .invalidArgument("expected \(count) elements for its shape, found more")
  }

  @inline(never)
  static func memoryFault(_ arena: MessageArena) -> ServingError {
    .invalidArgument(
      "body: expected at most \(arena.bytesBudget) bytes for its names and elements, found more; send tensors as bytes")
  }
}

extension StaticString {
  func isEqual(to bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count == utf8CodeUnitCount && bytes.elementsEqual(UnsafeBufferPointer(start: utf8Start, count: bytes.count))
  }
}
