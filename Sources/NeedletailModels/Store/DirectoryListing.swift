internal import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The visible names of one directory, sorted.
struct DirectoryListing {
  let names: [String]
  /// There were more than `Limits.storeEntriesMax`.
  let isCut: Bool

  static func read(_ path: String) -> Result<DirectoryListing, SystemFailure> {
    guard let directory = opendir(path) else { return .failure(SystemFailure(errno)) }
    defer { closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        // Half a listing would look as if files had gone.
        if errno != 0 { return .failure(SystemFailure(errno)) }
        return .success(DirectoryListing(names: names.sorted(), isCut: false))
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard !name.hasPrefix(".") else { continue }
      guard names.count < Limits.storeEntriesMax else {
        return .success(DirectoryListing(names: names.sorted(), isCut: true))
      }
      names.append(name)
    }
  }
}

/// An `errno`, for people.
struct SystemFailure: Error, Equatable {
  let code: Int32

  init(_ code: Int32) { self.code = code }

  var message: String {
    switch code {
    case ENOENT: "not found"
    case EACCES, EPERM: "permission denied"
    case ENOTDIR: "not a directory"
    case ELOOP: "symbolic links in a circle"
    default: String(cString: strerror(code))
    }
  }
}
