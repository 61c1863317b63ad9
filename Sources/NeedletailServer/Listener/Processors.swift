internal import NIOCore

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// How many processors this process may use.
enum Processors {
  /// The smaller of the affinity mask and the control group's quota, at least 1.
  static var count: Int {
    // NIO reads quotas and sets of control groups, but not the mask that `taskset` sets.
    let allowed = System.coreCount
    let status = try? String(contentsOf: URL(fileURLWithPath: "/proc/self/status"), encoding: .utf8)
    return max(1, min(allowed, status.flatMap(affinity) ?? allowed))
  }

  /// Processors in the affinity mask of `/proc/self/status`, e.g. `Cpus_allowed:\tff,00000003`: 10.
  static func affinity(inStatus text: String) -> Int? {
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Cpus_allowed:") }) else { return nil }
    var count = 0
    for digit in line.dropFirst("Cpus_allowed:".count) where digit != "," && !digit.isWhitespace {
      guard let value = digit.hexDigitValue else { return nil }
      count += value.nonzeroBitCount
    }
    return count > 0 ? count : nil
  }
}
