internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem

/// Writes log lines to a descriptor on a thread of its own, so that no other thread ever waits for whoever reads them.
///
/// Lines gather in a bounded buffer. While a reader holds the pipe up, further lines are counted and thrown away; one
/// line says how many as soon as there is room again. A server whose log pipe nobody read loaded no model, undid no
/// rollout, and ignored SIGTERM, because each of these writes a line first.
///
/// `@unchecked Sendable`: everything mutable is touched with `monitor` locked only.
public final class LogWriter: @unchecked Sendable {
  private let descriptor: Int32
  private let bytesMax: Int
  /// Makes the line that says how many lines were dropped, newline included.
  private let droppedLine: @Sendable (_ lines: UInt64) -> String
  private let monitor = Monitor()
  private var waiting: [UInt8] = []
  /// Lines dropped since the last one that was taken.
  private var unsaid: UInt64 = 0
  private var dropped: UInt64 = 0
  private var isWriting = false

  /// Starts the thread, which lives as long as the process.
  ///
  /// - Parameters:
  ///   - bytesMax: size of the buffer.
  ///   - droppedLine: makes the line that says how many lines were dropped, newline included.
  public init(
    descriptor: Int32, bytesMax: Int,
    droppedLine: @escaping @Sendable (_ lines: UInt64) -> String
  ) {
    self.descriptor = descriptor
    self.bytesMax = bytesMax
    self.droppedLine = droppedLine
    NativeThread.start(name: "nt-log") { [self] in run() }
  }

  /// Lines that were thrown away because nobody read the log.
  public var droppedLines: UInt64 {
    monitor.lock()
    defer { monitor.unlock() }
    return dropped
  }

  /// Hands over one line, newline included. Never waits for the descriptor.
  public func write(_ line: String) {
    monitor.lock()
    defer { monitor.unlock() }
    var text = unsaid > 0 ? droppedLine(unsaid) + line : line
    let isTaken = text.withUTF8 { bytes -> Bool in
      guard waiting.count + bytes.count <= bytesMax else { return false }
      waiting.append(contentsOf: bytes)
      return true
    }
    guard isTaken else {
      unsaid += 1
      dropped += 1
      return
    }
    unsaid = 0
    monitor.signalAll()
  }

  /// Returns when all lines so far are written, or when the time is over.
  /// - Returns: whether all are written.
  @discardableResult
  public func flush(within limit: Duration) -> Bool {
    let deadline = Instant.now().advanced(byMicroseconds: UInt64(clamping: limit.nanoseconds / 1000))
    monitor.lock()
    defer { monitor.unlock() }
    while isWriting || !waiting.isEmpty {
      guard Instant.now() < deadline else { return false }
      monitor.wait(until: deadline)
    }
    return true
  }

  private func run() {
    var taken: [UInt8] = []
    while true {
      monitor.lock()
      isWriting = false
      monitor.signalAll()
      while waiting.isEmpty {
        if unsaid > 0 {
          waiting.append(contentsOf: droppedLine(unsaid).utf8)
          unsaid = 0
        } else {
          monitor.wait()
        }
      }
      taken.removeAll(keepingCapacity: true)
      swap(&taken, &waiting)
      isWriting = true
      monitor.unlock()
      taken.withUnsafeBytes { DescriptorOutput.write($0, to: descriptor) }
    }
  }
}

/// Writing text to a pipe, a file or a terminal that others may write to as well.
enum DescriptorOutput {
  /// Writes whole lines, as many at a time as a pipe takes in one piece (`PIPE_BUF`), so that the lines of several
  /// processes do not mix. What cannot be written is thrown away: a log must not end a server.
  ///
  /// - Parameter deadline: the latest end of waiting for a reader; nil: without limit.
  static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, until deadline: Instant? = nil) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = rest.prefix(lengthOfLines(in: rest))
      guard writeAll(UnsafeRawBufferPointer(rebasing: piece), to: descriptor, until: deadline) else { return }
      rest = rest[piece.endIndex...]
    }
  }

  /// Length of the whole lines that fit into `PIPE_BUF`; where the first is longer, its own.
  private static func lengthOfLines(in bytes: Slice<UnsafeRawBufferPointer>) -> Int {
    let newline = UInt8(ascii: "\n")
    if let last = bytes.prefix(Int(PIPE_BUF)).lastIndex(of: newline) { return last - bytes.startIndex + 1 }
    return bytes.firstIndex(of: newline).map { $0 - bytes.startIndex + 1 } ?? bytes.count
  }

  /// - Returns: false if the descriptor takes nothing more.
  private static func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, until deadline: Instant?) -> Bool
  {
    var written = 0
    while let base = bytes.baseAddress, written < bytes.count {
      if let deadline, !waitForRoom(descriptor, until: deadline) { return false }
      let count = Glibc.write(descriptor, base + written, bytes.count - written)
      if count > 0 {
        written += count
        continue
      }
      switch errno {
      case EINTR: continue
      // The descriptor was made non-blocking by another process that shares it.
      case EAGAIN where waitForRoom(descriptor, until: deadline): continue
      default: return false
      }
    }
    return true
  }

  /// - Returns: false if there was no room in time.
  private static func waitForRoom(_ descriptor: Int32, until deadline: Instant?) -> Bool {
    var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    var milliseconds: Int32 = -1
    if let deadline {
      let now = Instant.now()
      milliseconds = deadline > now ? Int32(clamping: (deadline.nanoseconds - now.nanoseconds) / 1_000_000) : 0
    }
    return SystemError.retrying { poll(&wait, 1, milliseconds) } > 0
  }
}
