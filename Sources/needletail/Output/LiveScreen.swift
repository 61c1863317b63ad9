internal import Foundation
internal import Synchronization

/// A view that is drawn repeatedly: on a terminal in place, elsewhere one after the other.
///
/// On a terminal it ends at `q` or Ctrl-C and leaves the screen as it was. It follows the size of the window.
enum LiveScreen {
  /// Longest time until a key or another size of the window is noticed.
  private static let pollMilliseconds: Int32 = 100

  /// - Parameters:
  ///   - interval: time between two drawings.
  ///   - draw: makes the view's lines for a window of so many columns; nil: no limit.
  static func run(every interval: Duration, draw: (_ width: Int?) async throws -> [String]) async throws {
    guard let terminal = Terminal() else {
      while true {
        for line in try await draw(nil) { print(line) }
        print("")
        fflush(nil)
        try await Task.sleep(for: interval)
      }
    }
    terminal.enter()
    defer { terminal.leave() }
    let clock = ContinuousClock()
    while true {
      let size = terminal.size
      terminal.show(try await draw(size.columns), rows: size.rows)
      let next = clock.now + interval
      while clock.now < next, terminal.size == size {
        if terminal.wantsToLeave(waitMilliseconds: pollMilliseconds) { return }
      }
    }
  }

  private struct Size: Equatable {
    var columns: Int
    var rows: Int
  }

  /// The terminal of standard output, and the keys of standard input if that is a terminal too.
  private final class Terminal {
    private var saved: termios?

    /// Fails if standard output is not a terminal.
    init?() {
      guard isatty(STDOUT_FILENO) == 1 else { return nil }
      var settings = termios()
      if isatty(STDIN_FILENO) == 1, tcgetattr(STDIN_FILENO, &settings) == 0 { saved = settings }
    }

    var size: Size {
      var window = winsize()
      let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &window) == 0 && window.ws_col > 0 && window.ws_row > 0
      return isKnown ? Size(columns: Int(window.ws_col), rows: Int(window.ws_row)) : Size(columns: 80, rows: 24)
    }

    func enter() {
      if var settings = saved {
        // Keys arrive one by one and are not echoed; Ctrl-C still is a signal.
        settings.c_lflag &= ~tcflag_t(ICANON | ECHO)
        tcsetattr(STDIN_FILENO, TCSANOW, &settings)
      }
      for number in [SIGINT, SIGTERM] {
        signal(number) { _ in LiveScreen.wasInterrupted.store(true, ordering: .relaxed) }
      }
      // Switches to the alternate screen and hides the cursor.
      write("\u{1b}[?1049h\u{1b}[?25l")
    }

    func leave() {
      write("\u{1b}[?25h\u{1b}[?1049l")
      if var settings = saved { tcsetattr(STDIN_FILENO, TCSANOW, &settings) }
    }

    /// Draws over the last view, so that nothing flickers.
    func show(_ lines: [String], rows: Int) {
      var shown = lines.prefix(rows)
      if lines.count > rows { shown = lines.prefix(rows - 1) + ["… \(lines.count - rows + 1) more lines"] }
      write("\u{1b}[H" + shown.map { $0 + "\u{1b}[K" }.joined(separator: "\n") + "\u{1b}[J")
    }

    func wantsToLeave(waitMilliseconds: Int32) -> Bool {
      guard saved != nil else {
        usleep(UInt32(waitMilliseconds) * 1000)
        return LiveScreen.wasInterrupted.load(ordering: .relaxed)
      }
      var keys = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
      if poll(&keys, 1, waitMilliseconds) > 0 {
        var key: UInt8 = 0
        if read(STDIN_FILENO, &key, 1) <= 0 || key == UInt8(ascii: "q") || key == UInt8(ascii: "Q") { return true }
      }
      return LiveScreen.wasInterrupted.load(ordering: .relaxed)
    }

    private func write(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }
  }

  /// Set by the signal handler, which must do nothing else.
  private static let wasInterrupted = Atomic(false)
}
