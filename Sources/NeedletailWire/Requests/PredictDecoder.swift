public import NeedletailCore
public import NeedletailProtobuf

/// Reads a `PredictRequest`: one pass reads the head and counts, one pass fills arrays of exactly that size. Where
/// there is only one tensor or name, as in most calls, the first pass has found it already.
enum PredictDecoder {
  /// The fields beside tensors and names of outputs, and how many rows there are.
  static func decodeHead(_ payloads: CallPayloads, body: inout PredictBody) throws(ServingError) -> PredictView {
    var view = PredictView(model: UnsafeRawBufferPointer(start: nil, count: 0), selector: .serving)
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "PredictRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .bytes(let name)): view.model = name
        case (2, .varint(let version)): view.selector = .version(version)
        case (3, .bytes(let label)): view.selector = .label(label)
        case (4, .bytes(let tensor)):
          if body.tensorCount == 0 { view.rows = try firstDimension(of: tensor) ?? 1 }
          body.lastTensor = tensor
          body.tensorCount += 1
          view.inputBytes += tensor.count
        case (5, .bytes(let output)):
          body.lastOutput = output
          body.outputCount += 1
        case (6, .bytes(let key)): view.routingKey = key
        case (7, .varint(let level)): view.priority = priority(level)
        case (8, .bytes(let key)): view.key = key
        default: break
        }
      }
    }
    try check("inputs", body.tensorCount, atMost: Limits.inputTensorsMax, unit: "tensors", "tensors_max")
    try check("outputs", body.outputCount, atMost: Limits.outputNamesMax, unit: "names", "output_names_max")
    try check(
      "routing_key", view.routingKey.count, atMost: Limits.routingKeyBytesMax, unit: "bytes", "routing_key_bytes_max")
    try check("key", view.key.count, atMost: Limits.callKeyBytesMax, unit: "bytes", "key_bytes_max")
    body.payloads = payloads
    return view
  }

  private static func firstDimension(of tensor: UnsafeRawBufferPointer) throws(ServingError) -> UInt64? {
    var fields = MessageCursor(tensor, of: "Tensor")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (3, .varint(let dimension)): return dimension
      case (3, .bytes(let packed)):
        var dimensions = MessageCursor(packed, of: "Tensor.shape")
        if let dimension = try dimensions.nextPacked() { return dimension }
      default: break
      }
    }
    return nil
  }

  /// An enum is an int32 on the wire, so bits above are dropped.
  private static func priority(_ level: UInt64) -> CallPriority {
    UInt32(truncatingIfNeeded: level) == 0 ? .interactive : .bulk
  }

  fileprivate static func fill(
    _ tensors: UnsafeMutableBufferPointer<TensorView>, _ outputs: UnsafeMutableBufferPointer<UnsafeRawBufferPointer>,
    from payloads: CallPayloads, arena: MessageArena
  ) throws(ServingError) {
    var tensorIndex = 0
    var outputIndex = 0
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "PredictRequest")
      while let field = try fields.next() {
        guard case .bytes(let bytes) = field.value else { continue }
        if field.number == 4 {
          tensors.initializeElement(at: tensorIndex, to: try tensor(bytes, arena: arena))
          tensorIndex += 1
        } else if field.number == 5 {
          outputs.initializeElement(at: outputIndex, to: bytes)
          outputIndex += 1
        }
      }
    }
  }

  fileprivate static func tensor(
    _ message: UnsafeRawBufferPointer, arena: MessageArena
  ) throws(ServingError) -> TensorView {
    let empty = UnsafeRawBufferPointer(start: nil, count: 0)
    var view = TensorView(
      name: empty, type: nil, shape: .init(start: nil, count: 0), data: empty)
    var rank = 0
    var stringCount = 0
    var shapeFields = 0
    var packedShape = empty
    var fields = MessageCursor(message, of: "Tensor")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let name)): view.name = name
      // An enum is an int32 on the wire, so bits above are dropped.
      case (2, .varint(let type)):
        view.type = UInt8(exactly: UInt32(truncatingIfNeeded: type)).flatMap(DataType.init(rawValue:))
      case (3, .varint):
        shapeFields += 1
        rank += 1
      case (3, .bytes(let packed)):
        shapeFields += 1
        packedShape = packed
        var dimensions = MessageCursor(packed, of: "Tensor.shape")
        while try dimensions.nextPacked() != nil { rank += 1 }
      case (4, .bytes(let data)): view.data = data
      case (5, .bytes): stringCount += 1
      default: break
      }
    }
    try check("shape", rank, atMost: Limits.tensorRankMax, unit: "dimensions", "dimensions_max")
    let shape = try array(of: UInt64.self, count: rank, in: arena)
    if shapeFields <= 1, rank == 0 || !packedShape.isEmpty {
      // One packed field, as encoders write it.
      try fill(shape, packed: packedShape)
    } else {
      try fill(shape, from: message)
    }
    view.shape = UnsafeBufferPointer(shape)
    // Millions of empty texts take four times their frame: those that the shape does not ask for take nothing.
    let product = elements(of: shape)
    guard stringCount == 0 || product == UInt64(stringCount) else {
      let name = String(decoding: view.name.prefix(128), as: UTF8.self)
      let expected = product.map { String($0) } ?? "fewer than 2⁶⁴"
      throw .invalidArgument(
        "input \(name.quotedForMessage): expected \(expected) strings for its shape, found \(stringCount)",
        .init(field: name))
    }
    let strings = try array(of: TextElements.Place.self, count: stringCount, in: arena)
    if stringCount > 0 { try fill(strings, from: message) }
    view.strings = TextElements(base: message.baseAddress, places: UnsafeBufferPointer(strings))
    return view
  }

  private static func fill(
    _ shape: UnsafeMutableBufferPointer<UInt64>, packed: UnsafeRawBufferPointer
  ) throws(ServingError) {
    var dimensions = MessageCursor(packed, of: "Tensor.shape")
    for index in shape.indices {
      guard let dimension = try dimensions.nextPacked() else { return }
      shape.initializeElement(at: index, to: dimension)
    }
  }

  /// All dimensions multiplied; nil where the product is beyond every number of bytes.
  private static func elements(of shape: UnsafeMutableBufferPointer<UInt64>) -> UInt64? {
    var product: UInt64 = 1
    for dimension in shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
      guard !overflow else { return nil }
      product = next
    }
    return product
  }

  private static func fill(
    _ shape: UnsafeMutableBufferPointer<UInt64>, from message: UnsafeRawBufferPointer
  ) throws(ServingError) {
    var shapeIndex = 0
    var fields = MessageCursor(message, of: "Tensor")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (3, .varint(let dimension)):
        shape.initializeElement(at: shapeIndex, to: dimension)
        shapeIndex += 1
      case (3, .bytes(let packed)):
        var dimensions = MessageCursor(packed, of: "Tensor.shape")
        while let dimension = try dimensions.nextPacked() {
          shape.initializeElement(at: shapeIndex, to: dimension)
          shapeIndex += 1
        }
      default: break
      }
    }
  }

  private static func fill(
    _ strings: UnsafeMutableBufferPointer<TextElements.Place>, from message: UnsafeRawBufferPointer
  ) throws(ServingError) {
    var index = 0
    var fields = MessageCursor(message, of: "Tensor")
    while let field = try fields.next() {
      guard field.number == 5, case .bytes(let text) = field.value else { continue }
      strings.initializeElement(at: index, to: place(of: text, in: message))
      index += 1
    }
  }

  /// Place of a field's bytes within its message, which is part of a frame and far shorter than 4 GiB.
  private static func place(
    of text: UnsafeRawBufferPointer, in message: UnsafeRawBufferPointer
  ) -> TextElements.Place {
    guard let first = text.baseAddress, let start = message.baseAddress, text.count > 0 else {
      return TextElements.Place(offset: 0, count: 0)
    }
    return TextElements.Place(
      offset: UInt32(truncatingIfNeeded: first - start), count: UInt32(truncatingIfNeeded: text.count))
  }

  private static func check(
    _ field: StaticString, _ count: Int, atMost limit: Int, unit: StaticString, _ name: StaticString
  ) throws(ServingError) {
    guard count <= limit else {
      throw .invalidArgument(
        "\(field): expected at most \(limit) \(unit), found \(count)",
        .init(
          field: "\(field)", limit: .init("\(name)", maximum: UInt64(limit), found: UInt64(clamping: count))))
    }
  }

  fileprivate static func array<Element: BitwiseCopyable>(
    of type: Element.Type, count: Int, in arena: MessageArena
  ) throws(ServingError) -> UnsafeMutableBufferPointer<Element> {
    guard count > 0 else { return .init(start: nil, count: 0) }
    guard let memory = arena.allocate(type, count: count) else {
      throw .invalidArgument(
        "PredictRequest: more elements than a request of its size may hold, expected at most "
          + "\(arena.bytesBudget) bytes to keep them at 8 bytes a text or dimension and "
          + "\(MemoryLayout<TensorView>.stride) a tensor; send one tensor with many elements instead of many small ones"
      )
    }
    return memory
  }
}

extension PredictBody {
  /// Reads the tensors and the names of outputs.
  /// - Parameter arena: the one that the head was read with; it owns the arrays until its next reset.
  /// - Throws: `.invalidArgument` naming the field.
  public func decode(
    arena: MessageArena
  ) throws(ServingError) -> (
    tensors: UnsafeBufferPointer<TensorView>, outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    let tensors = try PredictDecoder.array(of: TensorView.self, count: tensorCount, in: arena)
    let outputs = try PredictDecoder.array(of: UnsafeRawBufferPointer.self, count: outputCount, in: arena)
    if tensorCount <= 1, outputCount <= 1 {
      if tensorCount == 1 {
        tensors.initializeElement(at: 0, to: try PredictDecoder.tensor(lastTensor, arena: arena))
      }
      if outputCount == 1 { outputs.initializeElement(at: 0, to: lastOutput) }
    } else if let payloads {
      try PredictDecoder.fill(tensors, outputs, from: payloads, arena: arena)
    }
    return (UnsafeBufferPointer(tensors), UnsafeBufferPointer(outputs))
  }
}
