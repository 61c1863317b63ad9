internal import Glibc

/// How many processors this process may use.
public enum Processors {
  /// The smaller of the affinity mask and the quota of the control groups, at least 1.
  public static var count: Int { count(proc: "/proc", controlGroups: "/sys/fs/cgroup") }

  /// - Parameters:
  ///   - proc, controlGroups: paths of `/proc` and `/sys/fs/cgroup`; a test has its own.
  static func count(proc: String, controlGroups: String) -> Int {
    let online = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    let allowed = KernelText.lines(proc + "/self/status").flatMap(affinity) ?? online
    guard let quota = quota(proc: proc, controlGroups: controlGroups) else { return max(1, allowed) }
    // A quota of 1.5 processors keeps two threads busy; with half of one, a second thread would only use up the
    // first one's time and then wait with it for the next period.
    return max(1, min(allowed, Int(quota.rounded(.up))))
  }

  /// Number of processors in the affinity mask of `/proc/self/status`, e.g. 10 for `Cpus_allowed:\tff,00000003`.
  static func affinity(inStatus lines: [Substring]) -> Int? {
    guard let line = lines.first(where: { $0.hasPrefix("Cpus_allowed:") }) else { return nil }
    var count = 0
    for digit in line.dropFirst("Cpus_allowed:".count) where digit != "," && !digit.isWhitespace {
      guard let value = digit.hexDigitValue else { return nil }
      count += value.nonzeroBitCount
    }
    return count > 0 ? count : nil
  }

  /// Processors that the control groups grant, which may be a part of one: the smallest quota of the process's own group
  /// and all above it. Nil: there is none.
  static func quota(proc: String, controlGroups: String) -> Double? {
    ControlGroups.levels(of: "cpu", proc: proc, root: controlGroups).compactMap { level -> Double? in
      if level.isVersion2 {
        // `50000 100000`, or `max 100000`.
        let fields = KernelText.line(level.directory + "/cpu.max")?.split(separator: " ") ?? []
        return fields.count == 2 ? share(fields[0], of: fields[1]) : nil
      }
      // A quota of -1 is none.
      guard let quota = KernelText.line(level.directory + "/cpu.cfs_quota_us"),
        let period = KernelText.line(level.directory + "/cpu.cfs_period_us")
      else { return nil }
      return share(quota, of: period)
    }.min()
  }

  private static func share(_ quota: Substring, of period: Substring) -> Double? {
    guard let quota = Double(quota), let period = Double(period), quota > 0, period > 0 else { return nil }
    return quota / period
  }
}

/// The control groups that this process is in.
public enum ControlGroups {
  /// A group or one above it.
  public struct Level: Equatable, Sendable {
    public let directory: String
    /// Which interface the files of the directory belong to.
    public let isVersion2: Bool
  }

  /// Directories of the process's own group of a controller and of all groups above it, whose limits apply too. A host may
  /// have both versions mounted, and a directory need not exist: inside a container the path may be that of the host, and
  /// then only the root does.
  ///
  /// - Parameters:
  ///   - controller: `cpu` or `memory`.
  ///   - proc, root: paths of `/proc` and `/sys/fs/cgroup`; a test has its own.
  public static func levels(of controller: String, proc: String, root: String) -> [Level] {
    (KernelText.lines(proc + "/self/cgroup") ?? []).flatMap { line -> [Level] in
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { return [] }
      if fields[0] == "0", fields[1].isEmpty {
        // Beside version 1, version 2 is mounted below it.
        return ["", "/unified"].flatMap { mount in
          ways(fields[2]).map { Level(directory: root + mount + $0, isVersion2: true) }
        }
      }
      let controllers = fields[1].split(separator: ",")
      guard controllers.contains(where: { $0 == controller }) else { return [] }
      // Controllers that are mounted together, `cpu,cpuacct`, have a directory of that name, and mostly links of their own.
      let mounts: Set<String> = ["/" + controller, "/" + fields[1]]
      return mounts.sorted().flatMap { mount in
        ways(fields[2]).map { Level(directory: root + mount + $0, isVersion2: false) }
      }
    }
  }

  /// Paths of a group and its parents: `/a/b` gives `/a/b`, `/a`, and the root.
  private static func ways(_ path: Substring) -> [String] {
    var ways: [String] = []
    var parts = path.split(separator: "/")
    while !parts.isEmpty {
      ways.append("/" + parts.joined(separator: "/"))
      parts.removeLast()
    }
    return ways + [""]
  }
}

/// Small text files of the kernel.
public enum KernelText {
  private static let bytesMax = 65_536

  /// Lines of a file; nil if it cannot be read.
  public static func lines(_ path: String) -> [Substring]? {
    guard let text = try? WholeFile.text(path, bytesMax: bytesMax) else { return nil }
    return text.split(whereSeparator: \.isNewline)
  }

  /// The first line of a file; nil if it cannot be read or is empty.
  public static func line(_ path: String) -> Substring? { lines(path)?.first }

  /// The number behind `name` at the start of a line; nil: there is none.
  public static func number(_ path: String, after name: String) -> UInt64? {
    for line in lines(path) ?? [] {
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      if fields.count > 1, fields[0] == name { return UInt64(fields[1]) }
    }
    return nil
  }
}
