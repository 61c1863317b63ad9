internal import Foundation
internal import NeedletailClient

/// One event as one line: time, severity, model and version, message, facts.
struct EventLine {
  private let event: EventReport

  init(_ event: EventReport) { self.event = event }

  /// - Parameter width: columns of the window; nil: no limit.
  func text(width: Int? = nil) -> String {
    var room = width ?? .max
    var line = ""
    for (text, style) in parts where room > 2 {
      let separator = line.isEmpty ? "" : "  "
      let shown = TerminalTable.cut(text, to: room - separator.count)
      room -= separator.count + shown.count
      line += separator + TerminalTable.styled(shown, style)
    }
    return line
  }

  private var parts: [(text: String, style: TerminalTable.Style)] {
    let severity = BundleOutput.plain(event.severity)
    var parts: [(text: String, style: TerminalTable.Style)] = [
      (Self.time(event.milliseconds), .faint),
      (severity + String(repeating: " ", count: max(0, 7 - severity.count)), style),
    ]
    if !event.model.isEmpty {
      parts.append((BundleOutput.plain(event.model) + (event.version > 0 ? " \(event.version)" : ""), .strong))
    }
    parts.append((BundleOutput.plain(event.message), .plain))
    // The message contains the state already.
    for fact in event.facts where !fact.value.isEmpty && fact.name != "state" {
      parts.append(("\(BundleOutput.plain(fact.name))=\(BundleOutput.plain(fact.value))", .plain))
    }
    return parts
  }

  private var style: TerminalTable.Style {
    switch event.severity {
    case "error", "warning": .bad
    case "notice": .good
    case "debug": .faint
    default: .plain
    }
  }

  /// Local time: `2026-11-21 11:30:00`.
  static func time(_ milliseconds: UInt64, in zone: TimeZone = .current) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = zone
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss"
    return formatter.string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
  }
}
