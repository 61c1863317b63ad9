internal import NeedletailCore

/// Owns what a plan's steps point to: packed weights, tables, the steps themselves.
///
/// Unchecked: written only while the plan is compiled, on one thread; read-only from then on, and
/// freed when the plan, its only owner, goes.
final class PlanStorage: @unchecked Sendable {
  private var blocks: [(start: UnsafeMutableRawPointer, bytes: Int)] = []
  private(set) var bytes = 0

  deinit { for block in blocks { AlignedMemory.free(block.start, bytes: block.bytes) } }

  /// Zeroed memory, aligned for every kernel.
  func allocate(bytes count: Int, for node: String?) throws(PlanError) -> UnsafeMutableRawPointer {
    let size = MemoryPlanner.aligned(max(1, count))
    guard size <= Limits.planBytesMax - bytes else {
      throw PlanError(node: node, "packed weights: expected at most \(Limits.planBytesMax) bytes, found more")
    }
    guard let block = AlignedMemory.allocate(bytes: size) else {
      throw PlanError(node: node, "cannot allocate \(size) bytes for packed weights")
    }
    blocks.append((block, size))
    bytes += size
    return block
  }

  /// A copy of `elements` that lives as long as the plan.
  func copy<Element: BitwiseCopyable>(_ elements: [Element], for node: String?) throws(PlanError)
    -> UnsafePointer<Element>
  {
    let block = try allocate(bytes: elements.count * MemoryLayout<Element>.stride, for: node)
    let typed = block.bindMemory(to: Element.self, capacity: elements.count)
    elements.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { typed.update(from: base, count: source.count) }
    }
    return UnsafePointer(typed)
  }
}
