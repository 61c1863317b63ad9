public import NeedletailCore

/// Tensors that own what a ``TensorView`` borrows, for as long as the fixture lives.
///
/// Unchecked: written while it is built, read-only afterwards.
public final class TensorFixture: @unchecked Sendable {
  private var blocks: [UnsafeMutableRawPointer] = []
  private var list: [TensorView] = []
  private var views: UnsafeMutableBufferPointer<TensorView> = .init(start: nil, count: 0)

  public init() {}

  deinit {
    for block in blocks { block.deallocate() }
    views.deallocate()
  }

  /// Tensors that a server would hand on; borrows from this fixture.
  public var tensors: UnsafeBufferPointer<TensorView> { UnsafeBufferPointer(views) }

  /// Adds a tensor of numbers, laid down one byte off every alignment, as a frame may.
  @discardableResult
  public func add<Element: BitwiseCopyable>(
    _ name: String, _ type: DataType?, _ shape: [UInt64], _ elements: [Element]
  ) -> TensorFixture {
    elements.withUnsafeBytes { add(name, type, shape, data: Array($0)) }
  }

  @discardableResult
  public func add(_ name: String, _ shape: [UInt64], strings: [String]) -> TensorFixture {
    add(name, .string, shape, strings: strings.map { Array($0.utf8) })
  }

  @discardableResult
  public func add(
    _ name: String, _ type: DataType?, _ shape: [UInt64], data: [UInt8] = [], strings: [[UInt8]] = []
  ) -> TensorFixture {
    let texts = copy(Array(strings.joined()))
    let placeBlock = block(bytes: strings.count * MemoryLayout<TextElements.Place>.stride)
      .bindMemory(to: TextElements.Place.self, capacity: strings.count)
    var offset = 0
    for (index, text) in strings.enumerated() {
      (placeBlock + index).initialize(to: .init(offset: UInt32(offset), count: UInt32(text.count)))
      offset += text.count
    }
    let shapeBlock = block(bytes: shape.count * 8).bindMemory(to: UInt64.self, capacity: shape.count)
    for (index, size) in shape.enumerated() { (shapeBlock + index).initialize(to: size) }
    list.append(
      TensorView(
        name: copy(Array(name.utf8)), type: type,
        shape: UnsafeBufferPointer(start: shapeBlock, count: shape.count), data: copy(data),
        strings: TextElements(
          base: texts.baseAddress, places: UnsafeBufferPointer(start: placeBlock, count: strings.count))))
    self.views.deallocate()
    self.views = .allocate(capacity: list.count)
    _ = self.views.initialize(from: list)
    return self
  }

  private func copy(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
    let memory = block(bytes: bytes.count + 1) + 1
    memory.copyMemory(from: bytes, byteCount: bytes.count)
    return UnsafeRawBufferPointer(start: memory, count: bytes.count)
  }

  private func block(bytes: Int) -> UnsafeMutableRawPointer {
    let block = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes), alignment: 16)
    blocks.append(block)
    return block
  }
}
