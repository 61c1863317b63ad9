public import NeedletailCore

/// Tensors of a captured request in the form in which a model takes them.
public enum CapturedTensors {
  /// Lends views of tensors. They are valid during the call.
  public static func withViews<Result, Fault: Error>(
    of tensors: [CapturedTensor], _ body: (UnsafeBufferPointer<TensorView>) throws(Fault) -> Result
  ) throws(Fault) -> Result {
    var blocks: [UnsafeMutableRawPointer] = []
    defer { for block in blocks { block.deallocate() } }
    func copy<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafeBufferPointer<Element> {
      guard !elements.isEmpty else { return UnsafeBufferPointer(start: nil, count: 0) }
      let bytes = elements.count * MemoryLayout<Element>.stride
      let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: MemoryLayout<Element>.alignment)
      blocks.append(block)
      let copied = block.bindMemory(to: Element.self, capacity: elements.count)
      copied.initialize(from: elements, count: elements.count)
      return UnsafeBufferPointer(start: copied, count: elements.count)
    }
    let views = tensors.map { tensor in
      var places: [TextElements.Place] = []
      places.reserveCapacity(tensor.strings.count)
      var offset = 0
      for string in tensor.strings {
        places.append(TextElements.Place(offset: UInt32(clamping: offset), count: UInt32(clamping: string.count)))
        offset += string.count
      }
      let texts = copy(Array(tensor.strings.joined()))
      return TensorView(
        name: UnsafeRawBufferPointer(copy(tensor.name)), type: tensor.type, shape: copy(tensor.shape),
        data: UnsafeRawBufferPointer(copy(tensor.data)),
        strings: TextElements(base: texts.baseAddress.map { UnsafeRawPointer($0) }, places: copy(places)))
    }
    return try views.withUnsafeBufferPointer { (views) throws(Fault) in try body(views) }
  }
}
