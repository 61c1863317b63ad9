internal import Glibc

/// One range of addresses, on a boundary of 2 MiB, that becomes memory from its start on.
///
/// What a plan reads lies together, and the system is asked to back it with pages of 2 MiB, of which a core's tables of
/// addresses hold far more bytes than of small ones. Addresses that nothing was handed out of take no memory.
/// Event loops call none of this.
public struct PageSlab: ~Copyable {
  /// Size of a large page, and the boundary that one lies on.
  public static let largePageBytes = 2 << 20
  /// Bytes that become memory at a time: a system call for each small table would take longer than to fill it.
  private static let stepBytes = 64 << 10
  private static let smallPageBytes = 4096

  /// First byte, on a boundary of 2 MiB.
  public let start: UnsafeMutableRawPointer
  private var reservedBytes: Int
  /// Bytes from the start that may be read and written.
  private var openBytes = 0
  /// Bytes from the start that were handed out.
  public private(set) var usedBytes = 0

  /// Reserves addresses; nil: the system has none.
  ///
  /// - Parameters:
  ///   - bytes: most that will be handed out, above 0.
  ///   - certainBytes: bytes that will be handed out for certain. They become memory together: a large page is given where
  ///     all of its range is memory when the first byte of it is touched.
  public static func reserve(bytes: Int, certainBytes: Int) -> PageSlab? {
    let (padded, isTooLarge) = bytes.addingReportingOverflow(2 * largePageBytes)
    guard !isTooLarge else { return nil }
    let reserved = rounded(bytes, to: smallPageBytes)
    guard
      let mapping = mmap(nil, padded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      mapping != MAP_FAILED
    else { return nil }
    let head = -Int(bitPattern: mapping) & (largePageBytes - 1)
    if head > 0 { munmap(mapping, head) }
    munmap(mapping + head + reserved, padded - head - reserved)
    var slab = PageSlab(start: mapping + head, reservedBytes: reserved)
    // Systems without large pages refuse this, and give small ones.
    madvise(slab.start, reserved, MADV_HUGEPAGE)
    guard slab.open(rounded(max(0, certainBytes), to: smallPageBytes)) else { return nil }
    return slab
  }

  private init(start: UnsafeMutableRawPointer, reservedBytes: Int) {
    self.start = start
    self.reservedBytes = reservedBytes
  }

  deinit { PageMemory.unmap(start, bytes: reservedBytes) }

  /// Zeroed memory behind what was handed out before, every page present; nil: too little is reserved, or there is no
  /// memory.
  ///
  /// - Parameter bytes: above 0, a multiple of the alignment that the caller needs.
  public mutating func allocate(bytes: Int) -> UnsafeMutableRawPointer? {
    guard bytes <= reservedBytes - usedBytes else { return nil }
    let end = usedBytes + bytes
    if end > openBytes {
      guard open(min(reservedBytes, Self.rounded(end, to: Self.stepBytes))) else { return nil }
    }
    let block = start + usedBytes
    PageMemory.touch(block, bytes: bytes)
    usedBytes = end
    return block
  }

  /// Gives back the addresses that nothing was handed out of.
  public mutating func seal() {
    let kept = max(Self.smallPageBytes, Self.rounded(usedBytes, to: Self.smallPageBytes))
    guard kept < reservedBytes else { return }
    munmap(start + kept, reservedBytes - kept)
    (reservedBytes, openBytes) = (kept, min(openBytes, kept))
  }

  private mutating func open(_ end: Int) -> Bool {
    guard end > openBytes else { return true }
    guard mprotect(start + openBytes, end - openBytes, PROT_READ | PROT_WRITE) == 0 else { return false }
    openBytes = end
    return true
  }

  private static func rounded(_ bytes: Int, to unit: Int) -> Int { (bytes + unit - 1) / unit * unit }
}
