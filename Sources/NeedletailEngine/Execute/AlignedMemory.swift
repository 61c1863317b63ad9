internal import CNeedletailKernels

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

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
      #if canImport(Glibc)
        Glibc.free(block)
      #else
        Darwin.free(block)
      #endif
    }
  }
}
