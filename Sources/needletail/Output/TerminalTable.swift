internal import Foundation
internal import NeedletailClient
internal import Synchronization

/// Aligned columns for a terminal. Colours are used only if standard output is a terminal and NO_COLOR is unset.
struct TerminalTable {
  enum Alignment { case left, right }

  enum Style: String {
    case plain = ""
    case good = "32"
    case bad = "31"
    case faint = "2"
    case strong = "1"
  }

  struct Column {
    var name: String
    var alignment: Alignment
    /// Fewest characters that cells may be cut down to in a window that is too narrow; nil: they are never cut.
    var charactersMin: Int?

    init(_ name: String, _ alignment: Alignment, charactersMin: Int? = nil) {
      self.name = name
      self.alignment = alignment
      self.charactersMin = charactersMin
    }
  }

  private enum Row {
    case cells([(text: String, style: Style)])
    /// Text below a row, across all columns.
    case note(String, Style)
  }

  private let columns: [Column]
  private var rows: [Row] = []

  static let isColoured =
    isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["NO_COLOR"] == nil

  init(_ columns: [Column]) { self.columns = columns }

  init(_ columns: [(name: String, alignment: Alignment)]) {
    self.init(columns.map { Column($0.name, $0.alignment) })
  }

  mutating func append(_ cells: [(text: String, style: Style)]) { rows.append(.cells(cells)) }

  mutating func append(_ cells: [String]) { append(cells.map { ($0, .plain) }) }

  /// Adds a text below the last row: indented, and broken into lines if the window is narrow.
  mutating func append(note: String, _ style: Style) { rows.append(.note(note, style)) }

  func print() {
    for line in lines() { Swift.print(line) }
  }

  /// - Parameter width: columns of the window; nil: no limit.
  func lines(width: Int? = nil) -> [String] {
    let widths = fit(width)
    var lines = [line(columns.map { ($0.name, .faint) }, widths: widths)]
    for row in rows {
      switch row {
      case .cells(let cells): lines.append(line(cells, widths: widths))
      case .note(let text, let style):
        lines += Self.broken(text, width: width.map { max(16, $0 - 4) }).map { "    " + Self.styled($0, style) }
      }
    }
    return lines
  }

  /// Widths of the columns: those of the widest cells if they fit; else columns that may be cut become narrower, the
  /// widest first; then the last columns are left out, down to three.
  private func fit(_ width: Int?) -> [Int] {
    var widths = columns.map(\.name.count)
    for case .cells(let cells) in rows {
      for (column, cell) in cells.enumerated() { widths[column] = max(widths[column], cell.text.count) }
    }
    guard let width else { return widths }
    while widths.reduce(0, +) + 2 * (widths.count - 1) > width {
      let candidates = widths.indices.filter { index in
        columns[index].charactersMin.map { widths[index] > max($0, columns[index].name.count) } ?? false
      }
      if let widest = candidates.max(by: { widths[$0] < widths[$1] }) {
        widths[widest] -= 1
      } else if widths.count > 3 {
        widths.removeLast()
      } else {
        break
      }
    }
    return widths
  }

  private func line(_ cells: [(text: String, style: Style)], widths: [Int]) -> String {
    var line = ""
    for (column, cell) in cells.prefix(widths.count).enumerated() {
      let text = Self.cut(cell.text, to: widths[column])
      let padding = String(repeating: " ", count: widths[column] - text.count)
      let isLast = column == widths.count - 1
      let styled = Self.styled(text, cell.style)
      line += columns[column].alignment == .right ? padding + styled : styled + (isLast ? "" : padding)
      if !isLast { line += "  " }
    }
    return line
  }

  static func cut(_ text: String, to width: Int) -> String {
    text.count <= width ? text : text.prefix(max(0, width - 1)) + "…"
  }

  /// Breaks a text into lines, between words if possible.
  static func broken(_ text: String, width: Int?) -> [String] {
    guard let width, text.count > width else { return [text] }
    var lines: [String] = []
    var rest = Substring(text)
    while rest.count > width {
      let head = rest.prefix(width + 1)
      let end = head.lastIndex(of: " ").flatMap { $0 > head.startIndex ? $0 : nil }
      lines.append(String(end.map { rest[..<$0] } ?? rest.prefix(width)))
      rest = end.map { rest[rest.index(after: $0)...] } ?? rest.dropFirst(width)
    }
    if !rest.isEmpty { lines.append(String(rest)) }
    return lines
  }

  static func styled(_ text: String, _ style: Style) -> String {
    isColoured && style != .plain ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
  }
}

/// Prints one line to standard error.
func notice(_ text: String) {
  FileHandle.standardError.write(Data("needletail: \(text)\n".utf8))
}

/// Prints a value as one line of JSON with sorted keys.
///
/// - Parameter keys: how keys are written; the outputs of a model keep their names.
func printJSON(_ value: some Encodable, keys: JSONEncoder.KeyEncodingStrategy = .convertToSnakeCase) throws {
  let encoder = JSONEncoder()
  encoder.keyEncodingStrategy = keys
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

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
