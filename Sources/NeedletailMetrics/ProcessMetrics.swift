internal import Glibc
internal import NeedletailSystem

extension MetricsRegistry {
  /// Adds the series that Prometheus' client libraries have for a process: memory, processor time, start, open files.
  /// They are read from `/proc` at each scrape; a series whose file is missing is left out.
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

/// Figures of this process; nil where the system does not have them.
package enum ProcessFigures {
  /// Resident memory in bytes.
  package static func residentBytes() -> Double? {
    statmField(1)
  }

  /// Virtual memory in bytes.
  package static func virtualBytes() -> Double? {
    statmField(0)
  }

  /// User and system time in seconds.
  package static func cpuSeconds() -> Double? {
    var usage = rusage()
    guard getrusage(selfUsage, &usage) == 0 else { return nil }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  /// Unix time of the start in seconds: the kernel's own start time, in ticks after boot, and the time of boot.
  package static func startSeconds() -> Double? {
    guard let ticks = statField(22), let stat = file("/proc/stat"),
      let line = stat.split(separator: "\n").first(where: { $0.hasPrefix("btime ") }),
      let boot = Double(line.dropFirst("btime ".count))
    else { return nil }
    return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// Number of open file descriptors.
  package static func openDescriptors() -> Double? {
    var count = 0
    do throws(SystemError) {
      try Directory.forEachName(in: "/proc/self/fd") { _ in
        count += 1
        return true
      }
    } catch {
      return nil
    }
    // One descriptor is that of the directory being read.
    return Double(count - 1)
  }

  /// Largest number of open file descriptors.
  package static func descriptorsMax() -> Double? {
    var limit = rlimit()
    guard getrlimit(openFilesLimit, &limit) == 0 else { return nil }
    return Double(limit.rlim_cur)
  }

  /// Number of threads.
  package static func threads() -> Double? {
    statField(20)
  }

  // Glibc imports both constants as enums that its own functions do not take.
  private static let selfUsage = __rusage_who_t(RUSAGE_SELF.rawValue)
  private static let openFilesLimit = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)

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

  /// The largest of these files is `/proc/stat`, 60 KB on 256 processors.
  private static func file(_ path: String) -> String? { try? WholeFile.text(path, bytesMax: 1 << 20) }
}
