internal import CNeedletailKernels
internal import Glibc
internal import NeedletailCore

/// Zeroed memory of plans and workspaces, aligned for every kernel.
///
/// Large blocks are mappings of their own: what a retired version held goes back to the system the
/// moment it is freed, on whatever thread that happens. The heap would keep it until somebody trims,
/// and glibc moves its limit for mappings up to 32 MiB once a large block was freed.
enum AlignedMemory {
  /// From here on a block is a mapping: its last page wastes less than a sixteenth.
  private static let mappedBytesMin = 64 << 10

  /// Every page of the result is present.
  /// - Returns: nil if there is no memory.
  static func allocate(bytes: Int) -> UnsafeMutableRawPointer? {
    guard bytes >= mappedBytesMin else {
      let block = aligned_alloc(Int(NT_ALIGNMENT), MemoryPlanner.aligned(max(1, bytes)))
      if let block { memset(block, 0, bytes) }
      return block
    }
    guard
      let block = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      block != MAP_FAILED
    else { return nil }
    // A new mapping is zero; touching its pages here spares the first request their faults.
    for offset in stride(from: 0, to: bytes, by: 4096) {
      (block + offset).storeBytes(of: 0, as: UInt8.self)
    }
    return block
  }

  /// - Parameter bytes: as asked for.
  static func free(_ block: UnsafeMutableRawPointer, bytes: Int) {
    if bytes >= mappedBytesMin {
      munmap(block, bytes)
    } else {
      Glibc.free(block)
    }
  }
}

/// Owns what a plan's steps point to: packed weights, tables, the steps themselves.
///
/// Unchecked: written only while the plan is compiled, on one thread; read-only from then on, and
/// freed with the plan, its only owner.
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
