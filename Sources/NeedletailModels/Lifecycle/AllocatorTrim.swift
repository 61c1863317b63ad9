#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

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
