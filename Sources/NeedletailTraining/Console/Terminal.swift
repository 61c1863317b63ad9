#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// What a stream can show: colours and redrawn lines on a terminal, plain text elsewhere.
public struct Terminal: Sendable {
  public let isInteractive: Bool
  public let hasColour: Bool
  /// Columns of the window.
  public let width: Int

  public init(isInteractive: Bool, hasColour: Bool, width: Int) {
    self.isInteractive = isInteractive
    self.hasColour = hasColour
    self.width = width
  }

  /// - Parameter descriptor: 1 or 2. `NO_COLOR` and `TERM=dumb` are honoured.
  public init(descriptor: Int32) {
    let isTerminal = isatty(descriptor) == 1
    let isDumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? true
    var size = winsize()
    let hasSize = isTerminal && ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    self.init(
      isInteractive: isTerminal && !isDumb, hasColour: isTerminal && !isDumb && getenv("NO_COLOR") == nil,
      width: hasSize ? Int(size.ws_col) : 80)
  }

  public static let plain = Terminal(isInteractive: false, hasColour: false, width: 80)

  func bold(_ text: String) -> String { paint("1", text) }
  func dim(_ text: String) -> String { paint("2", text) }
  func yellow(_ text: String) -> String { paint("33", text) }
  func cyan(_ text: String) -> String { paint("36", text) }

  private func paint(_ code: String, _ text: String) -> String {
    hasColour ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }
}
