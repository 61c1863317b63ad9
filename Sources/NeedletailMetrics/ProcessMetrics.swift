#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

extension MetricsRegistry {
  /// Adds the process metrics of Prometheus' client libraries: memory, processor time, start time, open files. They
  /// are read from `/proc` at each scrape; without it the series are absent.
  public func addProcessMetrics() {
    sampled("process_resident_memory_bytes", kind: .gauge, help: "Resident memory of the process in bytes.") {
      ProcessFigures.residentBytes()
    }
    sampled("process_virtual_memory_bytes", kind: .gauge, help: "Virtual memory of the process in bytes.") {
      ProcessFigures.virtualBytes()
    }
    sampled("process_cpu_seconds_total", kind: .counter, help: "User and system time of the process in seconds.") {
      ProcessFigures.cpuSeconds()
    }
    let startSeconds = ProcessFigures.startSeconds()
    sampled("process_start_time_seconds", kind: .gauge, help: "Unix time at which the process started, in seconds.") {
      startSeconds
    }
    sampled("process_open_fds", kind: .gauge, help: "Open file descriptors.") {
      ProcessFigures.openDescriptors()
    }
    sampled("process_max_fds", kind: .gauge, help: "Largest number of open file descriptors.") {
      ProcessFigures.descriptorsMax()
    }
    sampled("process_threads", kind: .gauge, help: "Threads of the process.") {
      ProcessFigures.threads()
    }
  }
}

/// Figures of this process; nil: the system does not provide them.
package enum ProcessFigures {
  package static func residentBytes() -> Double? {
    statmField(1)
  }

  package static func virtualBytes() -> Double? {
    statmField(0)
  }

  package static func cpuSeconds() -> Double? {
    var usage = rusage()
    guard getrusage(selfUsage, &usage) == 0 else { return nil }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  /// Unix time of the start, from the process's start in ticks after boot and the time of boot.
  package static func startSeconds() -> Double? {
    guard let ticks = statField(22), let stat = file("/proc/stat"),
      let line = stat.split(separator: "\n").first(where: { $0.hasPrefix("btime ") }),
      let boot = Double(line.dropFirst("btime ".count))
    else { return nil }
    return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  package static func openDescriptors() -> Double? {
    guard let directory = opendir("/proc/self/fd") else { return nil }
    defer { closedir(directory) }
    var count = 0
    while let entry = readdir(directory) {
      if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
    }
    // One descriptor is that of the directory being read.
    return Double(count - 1)
  }

  package static func descriptorsMax() -> Double? {
    var limit = rlimit()
    guard getrlimit(openFilesLimit, &limit) == 0 else { return nil }
    return Double(limit.rlim_cur)
  }

  package static func threads() -> Double? {
    statField(20)
  }

  #if canImport(Glibc)
    // Glibc imports both constants as enums that its own functions do not take.
    private static let selfUsage = __rusage_who_t(RUSAGE_SELF.rawValue)
    private static let openFilesLimit = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  #else
    private static let selfUsage = RUSAGE_SELF
    private static let openFilesLimit = RLIMIT_NOFILE
  #endif

  private static func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) / 1e6
  }

  private static func statmField(_ index: Int) -> Double? {
    guard let text = file("/proc/self/statm") else { return nil }
    let fields = text.split(separator: " ")
    guard fields.indices.contains(index), let pages = Double(fields[index]) else { return nil }
    return pages * Double(getpagesize())
  }

  /// Field of `/proc/self/stat`, counted from 1 as proc(5) does. The second field, the name, may contain spaces and
  /// brackets, so later fields are counted from the last bracket.
  private static func statField(_ number: Int) -> Double? {
    guard let text = file("/proc/self/stat"), let bracket = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: bracket)...].split(separator: " ")
    let index = number - 3
    guard fields.indices.contains(index) else { return nil }
    return Double(fields[index])
  }

  private static func file(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 8192)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
  }
}
