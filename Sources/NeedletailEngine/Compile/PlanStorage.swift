internal import CNeedletailKernels
internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem

/// Zeroed memory of plans and workspaces, aligned for every kernel.
///
/// Large blocks are mappings of their own: what a retired version held goes back to the system the moment it is freed.
/// The heap would keep it until somebody trims, and glibc moves its limit for mappings up to 32 MiB once a large block
/// was freed. Event loops neither allocate nor free any of it: the loader does.
enum AlignedMemory {
  /// From here on a block is a mapping: its last page wastes less than a sixteenth.
  static let mappedBytesMin = 64 << 10

  /// Every page of the result is present.
  /// - Returns: nil if there is no memory.
  static func allocate(bytes: Int) -> UnsafeMutableRawPointer? {
    guard bytes >= mappedBytesMin else {
      let block = aligned_alloc(Int(NT_ALIGNMENT), MemoryPlanner.aligned(max(1, bytes)))
      if let block { memset(block, 0, bytes) }
      return block
    }
    guard let block = PageMemory.map(bytes: bytes) else { return nil }
    // A new mapping is zero; touching its pages here spares the first request their faults.
    PageMemory.touch(block, bytes: bytes)
    return block
  }

  /// - Parameter bytes: as asked for.
  static func free(_ block: UnsafeMutableRawPointer, bytes: Int) {
    if bytes >= mappedBytesMin {
      PageMemory.unmap(block, bytes: bytes)
    } else {
      Glibc.free(block)
    }
  }
}

/// Owns what a plan's steps point to: packed weights, tables, the steps themselves. What is known beforehand to be large
/// lies in one slab, from which the system is asked to make large pages.
///
/// Unchecked: written only while the plan is compiled, on one thread; read-only from then on, and
/// freed with the plan, its only owner.
final class PlanStorage: @unchecked Sendable {
  private var slab: PageSlab?
  /// What was asked for without a slab, or did not fit it.
  private var blocks: [(start: UnsafeMutableRawPointer, bytes: Int)] = []
  private(set) var bytes = 0

  deinit { for block in blocks { AlignedMemory.free(block.start, bytes: block.bytes) } }

  /// Reserves addresses for what will be allocated, where that may be large. Without them each block is one of its own.
  ///
  /// - Parameters:
  ///   - most: bytes that may be allocated at most.
  ///   - certain: bytes of packed weights, which will be allocated for certain.
  func reserve(most: Int, certain: Int) {
    guard slab == nil, most >= AlignedMemory.mappedBytesMin else { return }
    slab = PageSlab.reserve(bytes: most, certainBytes: certain)
  }

  /// Gives back what was reserved and is not needed.
  func seal() { slab?.seal() }

  /// First byte of the slab, for tests.
  var slabStart: UnsafeMutableRawPointer? { slab?.start }

  /// Whether a block lies in the slab, for tests.
  func isInSlab(_ block: UnsafeMutableRawPointer) -> Bool {
    guard let start = slab?.start, let used = slab?.usedBytes else { return false }
    return block >= start && block < start + used
  }

  /// Zeroed memory, aligned for every kernel.
  func allocate(bytes count: Int, for node: String?) throws(PlanError) -> UnsafeMutableRawPointer {
    let size = MemoryPlanner.aligned(max(1, count))
    guard size <= Limits.planBytesMax - bytes else {
      throw PlanError(
        node: node, "packed weights and tables: expected at most \(Limits.planBytesMax) bytes, found more")
    }
    if let block = slab?.allocate(bytes: size) {
      bytes += size
      return block
    }
    guard let block = AlignedMemory.allocate(bytes: size) else {
      throw PlanError(
        node: node, "packed weights and tables: expected memory for \(size) bytes, found none", isMemoryShort: true)
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

/// Places values in one arena so that two share bytes only if they never live at the same time.
struct MemoryPlanner {
  /// One value: its size and the steps between which its bytes must stay untouched, both inclusive.
  struct Request: Equatable {
    var bytes: Int
    var firstStep: Int
    var lastStep: Int
  }

  struct Layout: Equatable {
    /// Offset of each request, aligned.
    var offsets: [Int]
    var bytes: Int
  }

  static let alignment = 64

  /// Largest first, each at the lowest offset that is free for its whole life: the greedy by size of
  /// Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020).
  ///
  /// - Complexity: O(requests²).
  static func plan(_ requests: [Request]) -> Layout {
    var layout = Layout(offsets: Array(repeating: 0, count: requests.count), bytes: 0)
    let order = requests.indices.sorted { (requests[$0].bytes, $1) > (requests[$1].bytes, $0) }
    /// Sorted by offset, so that gaps are found in one pass.
    var placed: [(offset: Int, end: Int, index: Int)] = []
    for index in order {
      let request = requests[index]
      let size = aligned(request.bytes)
      var offset = 0
      for other in placed where overlap(requests[other.index], request) {
        if other.offset >= offset + size { break }
        offset = max(offset, other.end)
      }
      layout.offsets[index] = offset
      layout.bytes = max(layout.bytes, offset + size)
      let position = placed.firstIndex { $0.offset > offset } ?? placed.endIndex
      placed.insert((offset, offset + size, index), at: position)
    }
    return layout
  }

  static func aligned(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }

  private static func overlap(_ a: Request, _ b: Request) -> Bool {
    a.firstStep <= b.lastStep && b.firstStep <= a.lastStep
  }
}
