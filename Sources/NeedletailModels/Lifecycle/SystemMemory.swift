#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// What the system has left.
enum SystemMemory {
  /// `MemAvailable` of `/proc/meminfo`, in bytes; nil where there is none.
  static func availableBytes() -> UInt64? {
    guard let file = fopen("/proc/meminfo", "re") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      guard text.hasPrefix("MemAvailable:") else { continue }
      let fields = text.split(separator: " ", omittingEmptySubsequences: true)
      guard fields.count >= 2, let kibibytes = UInt64(fields[1]) else { return nil }
      return kibibytes.multipliedReportingOverflow(by: 1024).partialValue
    }
    return nil
  }
}

/// glibc keeps freed memory for later use; after a model is gone the system shall have it back.
enum AllocatorTrim {
  private typealias Function = @convention(c) (Int) -> Int32

  /// Looked up at run time, for other C libraries have no such function.
  private static let function: Function? = {
    guard let symbol = dlsym(dlopen(nil, RTLD_NOW), "malloc_trim") else { return nil }
    return unsafeBitCast(symbol, to: Function.self)
  }()

  static func run() {
    _ = function?(0)
  }
}
