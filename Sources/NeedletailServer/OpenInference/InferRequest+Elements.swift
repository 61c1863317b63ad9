internal import NeedletailCore
internal import NeedletailProtobuf

extension InferRequest {
  /// Reads the elements of the tensors that ``read(_:jsonBytes:arena:)`` found.
  /// - Parameter arena: the same; it owns them.
  func tensors(
    arena: MessageArena
  ) throws(ServingError) -> (
    tensors: UnsafeBufferPointer<TensorView>, outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) {
    guard let views = arena.allocate(TensorView.self, count: inputs.count),
      let names = arena.allocate(UnsafeRawBufferPointer.self, count: outputs.count)
    else { throw Self.memoryFault(arena) }
    for index in inputs.indices { views.initializeElement(at: index, to: try view(index, arena)) }
    for index in outputs.indices { names.initializeElement(at: index, to: outputs[index]) }
    return (UnsafeBufferPointer(views), UnsafeBufferPointer(names))
  }

  private func view(_ index: Int, _ arena: MessageArena) throws(ServingError) -> TensorView {
    let found = inputs[index]
    var view = TensorView(
      name: found.name, type: found.type.dataType, shape: found.shape,
      data: UnsafeRawBufferPointer(start: nil, count: 0))
    guard found.binaryBytes == nil else {
      guard found.type.dataType != nil else {
        throw input(index, "expected a type that models take as bytes, found \(found.type.name)")
      }
      if found.type == .bytes {
        view.strings = try texts(index, behindLengths: found.binary, arena)
      } else {
        view.data = found.binary
      }
      return view
    }
    let count = try elementCount(index)
    if found.type == .bytes {
      view.strings = try texts(index, count: count, arena)
    } else {
      view.type = .float64
      view.data = try numbers(index, count: count, arena)
    }
    return view
  }

  /// Elements that the shape asks for; never more than there can be in the data.
  private func elementCount(_ index: Int) throws(ServingError) -> Int {
    let most = inputs[index].data?.count ?? inputs[index].binary.count
    var product = 1
    for dimension in inputs[index].shape {
      guard let dimension = Int(exactly: dimension) else { throw tooFew(index) }
      let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
      guard !overflow, next <= most else { throw tooFew(index) }
      product = next
    }
    return product
  }

  private func tooFew(_ index: Int) -> ServingError {
    input(index, "expected as many elements as its shape says, found fewer")
  }

  private func numbers(
    _ index: Int, count: Int, _ arena: MessageArena
  ) throws(ServingError) -> UnsafeRawBufferPointer {
    guard let numbers = arena.allocate(Double.self, count: count) else { throw Self.memoryFault(arena) }
    let type = inputs[index].type
    var filled = 0
    try elements(index) { (cursor) throws(ServingError) in
      guard filled < count else { throw tooMany(index, count) }
      numbers[filled] = try number(index, type, &cursor)
      filled += 1
    }
    guard filled == count else { throw input(index, "expected \(count) elements for its shape, found \(filled)") }
    return UnsafeRawBufferPointer(numbers)
  }

  private func number(
    _ index: Int, _ type: ElementType, _ cursor: inout JSONCursor
  ) throws(ServingError) -> Double {
    switch cursor.peek() {
    case UInt8(ascii: "n"):
      // JSON has no NaN.
      guard cursor.takeWord("null") else { throw cursor.fault("a number or null") }
      return .nan
    case UInt8(ascii: "t"), UInt8(ascii: "f"):
      guard type == .bool else { throw cursor.fault("a number or null") }
      return try cursor.flag("true or false") ? 1 : 0
    default: break
    }
    let text = try cursor.number("a number or null")
    guard let value = text.withMemoryRebound(to: UInt8.self, { NumberStyle.plain.parse($0) }) else {
      throw cursor.fault("a number or null")
    }
    if type == .bool, value != 0, value != 1 { throw input(index, "expected true, false, 0 or 1, found \(value)") }
    if let range = type.range, value.rounded(.towardZero) != value || !range.contains(value) {
      throw input(index, "expected a whole number of \(type.name), found \(value)")
    }
    // The number that a client has in fp32 is the one its bytes would have brought.
    return type == .float32 ? Double(Float(value)) : value
  }

  private func texts(_ index: Int, count: Int, _ arena: MessageArena) throws(ServingError) -> TextElements {
    let bytes = inputs[index].data?.count ?? 0
    guard let places = arena.allocate(TextElements.Place.self, count: count), let memory = arena.allocate(bytes: bytes)
    else { throw Self.memoryFault(arena) }
    var (filled, used) = (0, 0)
    try elements(index) { (cursor) throws(ServingError) in
      guard filled < count else { throw tooMany(index, count) }
      var written = 0
      if !cursor.takeWord("null") {  // A missing text.
        let text = try cursor.text("a string or null")
        guard let unescaped = JSONCursor.unescape(text.raw, to: memory + used) else {
          throw cursor.fault("a string of valid escapes")
        }
        written = unescaped
      }
      places[filled] = TextElements.Place(
        offset: UInt32(truncatingIfNeeded: used), count: UInt32(truncatingIfNeeded: written))
      used += written
      filled += 1
    }
    guard filled == count else { throw input(index, "expected \(count) elements for its shape, found \(filled)") }
    return TextElements(base: UnsafeRawPointer(memory), places: UnsafeBufferPointer(places))
  }

  /// Texts of the binary extension: four bytes of length, little-endian, before each.
  private func texts(
    _ index: Int, behindLengths blob: UnsafeRawBufferPointer, _ arena: MessageArena
  ) throws(ServingError) -> TextElements {
    let count = try elementCount(index)
    guard let places = arena.allocate(TextElements.Place.self, count: count) else { throw Self.memoryFault(arena) }
    var at = 0
    for element in 0..<count {
      guard blob.count - at >= 4 else { throw tooFew(index) }
      let length = UInt32(littleEndian: blob.loadUnaligned(fromByteOffset: at, as: UInt32.self))
      at += 4
      guard Int(length) <= blob.count - at else {
        throw input(
          index, "element \(element): expected at most \(blob.count - at) bytes that are left, found \(length)")
      }
      places[element] = TextElements.Place(offset: UInt32(truncatingIfNeeded: at), count: length)
      at += Int(length)
    }
    guard at == blob.count else {
      throw input(index, "binary_data_size: expected \(at) bytes for its elements, found \(blob.count)")
    }
    return TextElements(base: blob.baseAddress, places: UnsafeBufferPointer(places))
  }

  /// Goes through the elements of a tensor in JSON, in however many lists they stand: nested or flat, they come in the
  /// same order.
  private func elements(
    _ index: Int, _ element: (inout JSONCursor) throws(ServingError) -> Void
  ) throws(ServingError) {
    var cursor = JSONCursor(inputs[index].data ?? UnsafeRawBufferPointer(start: nil, count: 0))
    do throws(ServingError) {
      try list(&cursor, element)
    } catch {
      throw input(index, error.message)
    }
  }

  private func list(
    _ cursor: inout JSONCursor, _ element: (inout JSONCursor) throws(ServingError) -> Void
  ) throws(ServingError) {
    var isFirst = true
    try cursor.enter(UInt8(ascii: "["), "a list of elements")
    while try cursor.next(until: UInt8(ascii: "]"), &isFirst) {
      if cursor.peek() == UInt8(ascii: "[") {
        try list(&cursor, element)
      } else {
        try element(&cursor)
      }
    }
  }
}

extension InferRequest {
  /// Error of a request beyond a limit.
  /// - Parameter found: what the request has; nil: it was not counted to its end.
  @inline(never)
  static func exceeded(
    _ field: String, _ maximum: Int, _ unit: String, _ limit: String, found: Int? = nil
  ) -> ServingError {
    .invalidArgument(
      "\(field): expected at most \(maximum) \(unit), found \(found.map(String.init) ?? "more")",
      .init(
        field: field, limit: .init(limit, maximum: UInt64(maximum), found: UInt64(clamping: found ?? maximum + 1))))
  }
}
